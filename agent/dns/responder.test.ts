import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { pino } from "pino";
import { A, dnsMessage, extendedErrorOf, optRecord, summaryOf } from "../../test/support/dns-messages.ts";
import { pod as workload, port, service } from "../../test/support/mesh.ts";
import { ManualClock } from "../../core/base/clock.ts";
import { seededRandom } from "../../core/base/random.ts";
import { dnsFailures, type DnsFailure } from "../../core/decision/dns-failures.ts";
import { namedError } from "../../core/linux/errno.ts";
import { Counters } from "../metrics/counters.ts";
import { WorkerMesh } from "../worker/mesh.ts";
import type { DnsHost } from "./host.ts";
import { CountingDnsObserver } from "./observer.ts";
import { Responder } from "./responder.ts";
import { destinationFinder } from "./worker-host.ts";

const info = { namespace: "shop", name: "alice-1", serviceAccount: "alice" };
const local = "cart.shop.svc.cluster.local";

function makeResponder(level = "debug"): {
  responder: Responder;
  lines: Record<string, unknown>[];
  counters: Counters;
} {
  const lines: Record<string, unknown>[] = [];
  const counters = new Counters();
  const mesh = new WorkerMesh(new ManualClock(), () => undefined);
  const alice = workload("shop/alice-1", "10.0.0.1", { serviceAccount: "alice", canonicalName: "alice" });
  mesh.apply({ services: [service("shop/cart", "10.96.0.1", [port(80, 8080)])], workloads: [alice] });
  const host = {
    settings: {
      clusterDomain: "cluster.local",
      ipv6: true,
      port: 15_053,
      nameServers: [],
      inFlight: 9,
      probeSecret: "",
      deadlineMs: 1,
    },
    log: pino(
      { level, base: null, timestamp: false },
      { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
    ),
    random: seededRandom(1),
    mesh,
    observer: new CountingDnsObserver(counters),
  } as unknown as DnsHost;
  return { responder: new Responder(host, { uid: "a", info, netns: undefined }), lines, counters };
}

test("F-217 every query is a line at debug: who asked what, and what came of it", () => {
  const { responder, lines } = makeResponder();
  responder.respond(dnsMessage({ name: local, type: A }), "udp");
  responder.respond(dnsMessage({ name: "www.example.com", type: 16 }), "tcp");
  responder.failed(dnsMessage({ name: "www.example.com", type: 16 }), "DNS_TIMEOUT");
  const who = { "src.workload": "alice-1", "src.namespace": "shop" };
  assert.deepEqual(
    lines.map(({ level: _level, msg: _msg, ...fields }) => fields),
    [
      { ...who, query: "A", domain: local, result: `shop/${local}`, endpoints: ["10.96.0.1"] },
      { ...who, query: "TXT", domain: "www.example.com", result: "passed", endpoints: [] },
      { ...who, query: "TXT", domain: "www.example.com", result: "DNS_TIMEOUT", endpoints: [] },
    ],
  );
  const quiet = makeResponder("info");
  quiet.responder.respond(dnsMessage({ name: local, type: A }), "udp");
  assert.deepEqual(quiet.lines, []);
});

test("F-206 queries are counted by type, protocol and who asks; a type that a client made up is one of the others", () => {
  const { responder, counters } = makeResponder();
  for (let type = 1; type < 65_536; type += 97) responder.respond(dnsMessage({ name: "x.example", type }), "udp");
  responder.respond(dnsMessage({ name: local, type: A }), "tcp");
  const observer = new CountingDnsObserver(counters);
  const labels = { type: "A", protocol: "udp", source: undefined } as const;
  observer.forwarded(labels);
  observer.answered(labels, 0.02);
  observer.failed(labels);
  const { counters: rows, histograms } = counters.take();
  const requests = rows.filter(({ name }) => name === "istio_dns_requests");
  assert.ok(requests.length < 10);
  assert.deepEqual(
    requests.find(({ labels: [, protocol] }) => protocol === "tcp"),
    { name: "istio_dns_requests", labels: ["A", "tcp", "alice", "latest"], value: 1 },
  );
  const unknown = ["A", "udp", "unknown", "unknown"];
  assert.deepEqual(
    rows.filter(({ name }) => name !== "istio_dns_requests").sort((a, b) => (a.name < b.name ? -1 : 1)),
    [
      { name: "istio_dns_upstream_failures", labels: unknown, value: 1 },
      { name: "istio_dns_upstream_requests", labels: unknown, value: 1 },
    ],
  );
  assert.deepEqual(histograms, [
    { name: "istio_dns_upstream_request_duration_seconds", labels: unknown, buckets: [0, 0, 0, 1, 0, 0, 0], sum: 0.02 },
  ]);
});

test("every failure is told to a client with EDNS, and stands in the documents", () => {
  const { responder } = makeResponder();
  const documents = readFileSync(new URL("../../docs/dns.md", import.meta.url), "utf8");
  for (const failure of Object.keys(dnsFailures) as DnsFailure[]) {
    const reply = responder.failed(dnsMessage({ name: "x", type: A, additional: [optRecord()] }), failure);
    assert.equal(summaryOf(reply), "SERVFAIL");
    assert.equal(extendedErrorOf(reply), failure);
    assert.equal(extendedErrorOf(responder.failed(dnsMessage({ name: "x", type: A }), failure)), undefined);
    assert.ok(documents.includes(`| \`${failure}\``), `${failure} is not in docs/dns.md`);
  }
});

test("an agent that may not ask whom a query was for asks once and says so; one whose kernel forgets asks on", () => {
  const lines: string[] = [];
  const log = pino({ level: "warn" }, { write: (line: string) => void lines.push(line) });
  const place = { address: "127.0.0.1", port: 15_053 };
  for (const [errno, times] of [
    ["EPERM", 1],
    ["EPROTONOSUPPORT", 1],
    ["EMFILE", 3],
  ] as const) {
    let asked = 0;
    const find = destinationFinder(log, () => {
      asked++;
      return namedError("conntrack get", errno);
    });
    for (let i = 0; i < 3; i++) assert.equal(find(undefined, place, place), undefined);
    assert.equal(asked, times, errno);
  }
  assert.equal(lines.length, 2);
});
