/** What running agents say of themselves: asked for over the network, as Prometheus does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { useLab } from "../support/mesh-lab.ts";
import { idlePod, namespace, pod, service } from "../support/manifests.ts";
import { sumOf } from "../support/openmetrics.ts";
import { scrape } from "../support/scrape.ts";
import { until } from "../support/until.ts";

const lab = useLab([
  namespace("shop", { ambient: true }),
  namespace("outside"),
  idlePod("shop/alice", { node: "node1" }),
  pod("shop/far", { node: "node2" }),
  service("shop/far"),
  idlePod("outside/prometheus", { node: "node1" }),
]);

test("F-013 F-200 F-201 F-211 both agents' figures add up to their access logs' over all workers, and both name both ends", async () => {
  const [result] = await lab().client("shop/alice", "sequence", await target(), 200);
  assert.equal(result?.["good"], 200);
  for (const [node, direction, reporter] of [
    ["node1", "outbound", "source"],
    ["node2", "inbound", "destination"],
  ] as const) {
    const lines = await until(`${node} has told of all`, 15_000, async () => {
      const told = (await lab().accessLog(node)).filter(
        (line) => line["direction"] === direction && line["dst.workload"] === "far",
      );
      return told.length >= 200 && told;
    });
    const families = await scrape(lab(), node);
    const of = (name: string): number =>
      sumOf(families, name, { reporter, source_workload: "alice", destination_workload: "far" });
    const bytes = (name: string): number => lines.reduce((sum, line) => sum + Number(line[name]), 0);
    const [toServer, toClient] =
      direction === "outbound"
        ? [bytes("bytes_sent"), bytes("bytes_recv")]
        : [bytes("bytes_recv"), bytes("bytes_sent")];
    assert.deepEqual(
      [of("istio_tcp_connections_opened"), of("istio_tcp_connections_closed")],
      [lines.length, lines.length],
    );
    assert.deepEqual([of("istio_tcp_received_bytes"), of("istio_tcp_sent_bytes")], [toServer, toClient]);
    assert.ok(toServer > 0 && toClient > 0);
    const principals = new Set(
      families.get("istio_tcp_connections_opened")?.samples.map((one) => one.labels["source_principal"]),
    );
    assert.ok([...principals].some((principal) => principal?.startsWith("spiffe://cluster.local/ns/shop/sa/")));
  }
});

test("H093 F-201 scrapes while 2,000 connections come cost none of them, and see counters that only grow", async () => {
  const crowd = lab().client("shop/alice", "crowd", await target(), 2_000);
  let last = 0;
  let isOver = false;
  void crowd.finally(() => (isOver = true));
  for (let scrapes = 0; scrapes < 5 || !isOver; scrapes++) {
    const opened = sumOf(await scrape(lab(), "node1"), "istio_tcp_connections_opened", { reporter: "source" });
    assert.ok(opened >= last);
    last = opened;
  }
  assert.equal((await crowd)[0]?.["good"], 2_000);
});

test("F-202 F-207 F-208 F-209 F-210 an agent counts what it is told, whom it serves, what it holds and how late its threads are", async () => {
  const families = await scrape(lab(), "node1");
  const of = (name: string, labels?: Record<string, string>): number => sumOf(families, name, labels);
  assert.equal(of("istio_build", { component: "ztunnel" }), 1);
  assert.equal(of("workload_manager_active_proxy_count"), 1);
  assert.equal(of("workload_manager_proxies_started"), 1);
  for (const url of [
    "type.googleapis.com/istio.workload.Address",
    "type.googleapis.com/istio.security.Authorization",
  ]) {
    assert.ok(of("istio_xds_message", { url }) >= 1);
  }
  assert.ok(of("istio_xds_message_bytes", { url: "type.googleapis.com/istio.workload.Address" }) > 100);
  assert.equal(of("ambientd_xds_connected"), 1);
  assert.ok(of("process_open_fds") > 10 && of("process_max_fds") > of("process_open_fds"));
  const threads = new Set(
    families.get("ambientd_event_loop_delay_seconds")?.samples.map(({ labels }) => labels["thread"]),
  );
  assert.deepEqual([...threads].sort(), ["0", "1", "main"]);
  for (const gate of ["state manager", "proxy", "workload proxy manager"])
    assert.equal(of("ambientd_ready", { gate }), 1);
});

async function target(): Promise<string> {
  return `${await lab().addressOf("shop/far")}:9000`;
}
