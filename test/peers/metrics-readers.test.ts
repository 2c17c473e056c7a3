import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { Counters } from "../../agent/metrics/counters.ts";
import type { Format } from "../../agent/metrics/exposition.ts";
import { Ledger } from "../../agent/metrics/ledger.ts";
import { noRows } from "../../agent/metrics/rows.ts";
import { render } from "../../agent/metrics/scrape.ts";
import { TrafficSeries } from "../../agent/metrics/traffic-series.ts";
import { prometheusClient } from "../../scripts/peers.ts";
import { Unavailable } from "../cluster/unavailable.ts";
import { pod } from "../support/mesh.ts";
import { promtoolProgram } from "./parts.ts";

const noPython = existsSync(prometheusClient) ? false : "needs Debian's python3-prometheus-client";
const promtool = await promtoolProgram();

test(
  "Prometheus' own reader of OpenMetrics takes what the agent says, value by value",
  { skip: noPython },
  async () => {
    const { status, stdout, stderr } = spawnSync("/usr/bin/python3", ["-c", reader], {
      input: await exposed("openmetrics"),
    });
    assert.equal(status, 0, stderr.toString());
    const samples = JSON.parse(stdout.toString()) as [string, Record<string, string>, number][];
    const value = (name: string, label?: string): number | undefined =>
      samples.find(
        ([called, labels]) => called === name && (label === undefined || Object.values(labels).includes(label)),
      )?.[2];
    assert.equal(value("istio_tcp_connections_opened_total", 'an "odd" name\\n'), 3);
    assert.equal(value("istio_tcp_sent_bytes_total"), 2 ** 40);
    assert.equal(value("istio_dns_upstream_request_duration_seconds_bucket", "0.001"), 1);
    assert.equal(value("ambientd_event_loop_delay_seconds", "0.99"), 0.0125);
  },
);

test(
  "promtool finds nothing wrong with the text format",
  { skip: promtool instanceof Unavailable && promtool.missing },
  async () => {
    assert.ok(!(promtool instanceof Unavailable));
    const [program = "", ...argv] = [...promtool, "check", "metrics"];
    const { stdout, stderr } = spawnSync(program, argv, { input: await exposed("text") });
    const complaints = `${stdout.toString()}${stderr.toString()}`.split("\n").filter((line) => line !== "");
    // A matter of taste about the field's own names.
    assert.deepEqual(
      complaints.filter((line) => !/non-histogram and non-summary metrics should not have "_count" suffix/.test(line)),
      [],
    );
  },
);

/** One of everything. */
async function exposed(format: Format): Promise<string> {
  const ledger = new Ledger();
  const series = new TrafficSeries();
  const one = series.of(
    {
      direction: "outbound",
      protocol: "tcp",
      trace: "",
      source: { address: "10.0.0.1", port: 1 },
      sourceWorkload: pod("shop/cart", "10.0.0.1", { workloadName: 'an "odd" name\\n' }),
    },
    "-",
    0,
  );
  one.opened = 3;
  one.sent = 2 ** 40;
  for (const slice of series.take()) ledger.add(0, { ...noRows, ...slice });
  const counters = new Counters();
  counters.count("ambientd_connections_ended", ["source", "OK"], 1e21);
  counters.count("process_cpu_seconds", [], 1e-9);
  for (const seconds of [0.0007, 4]) {
    counters.observe("istio_dns_upstream_request_duration_seconds", ["A", "udp", "cart", "v1"], seconds);
  }
  ledger.add(0, {
    ...noRows,
    ...counters.take(),
    gauges: [
      { name: "workload_manager_active_proxy_count", labels: [], value: 2 },
      { name: "istio_build", labels: ["ztunnel", "1.2.3"], value: 1 },
    ],
    summaries: [{ name: "ambientd_event_loop_delay_seconds", labels: ["main"], quantiles: [["0.99", 0.0125]] }],
  });
  let text = "";
  for await (const piece of render(ledger, format)) text += piece;
  return text;
}

const reader = `
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
text = sys.stdin.read()
print(json.dumps([[s.name, s.labels, s.value] for family in text_string_to_metric_families(text) for s in family.samples]))
`;
