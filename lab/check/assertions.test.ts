import assert from "node:assert/strict";
import { test } from "node:test";
import type { CloseRecord } from "../reachability/facts.ts";
import type { Observation } from "../reachability/ledger.ts";
import { judge, markers, pairs, type Evidence } from "./assertions.ts";

type Pair = (typeof pairs)[number];

test("of a mesh that does all it should, every assertion holds", () => {
  assert.deepEqual(failing(evidence()), []);
});

test("a request that went around the agents is a fault of the redirect", () => {
  const bare = plain("shop/client-1 server.shop:80", false);
  assert.ok(failing(evidence({ "shop/client-1 server.shop:80": bare })).includes("redirect"));
});

test("a marker on the link, and a sniffer that missed frames, are faults of mTLS", () => {
  const [marker = ""] = markers.meshed;
  assert.deepEqual(failing(evidence({}, { marked: { ...seen, [marker]: 1 }, dropped: 0 })), ["mtls"]);
  assert.deepEqual(failing(evidence({}, { marked: seen, dropped: 1 })), ["mtls"]);
});

test("a sniffer that sees nothing at all proves nothing", () => {
  assert.deepEqual(failing(evidence({}, { marked: {}, dropped: 0 })), ["mtls"]);
});

test("another identity than the caller's is a fault of identity", () => {
  const request = tunnelled("shop/client-1 server.shop:80");
  const inbound = { ...request.inbound!, "src.identity": "spiffe://cluster.local/ns/shop/sa/server" };
  assert.deepEqual(failing(evidence({ "shop/client-1 server.shop:80": { ...request, inbound } })), ["identity"]);
});

test("another address than the caller's is a fault of source", () => {
  const request = tunnelled("shop/client-1 10.96.0.10:80");
  const served = { ...request.served!, peer: "10.244.2.9:1" };
  assert.deepEqual(failing(evidence({ "shop/client-1 10.96.0.10:80": { ...request, served } })), ["source"]);
});

test("who should be denied and gets in is a fault of policy, and so is a denial that names no policy", () => {
  const pair = "shop/intruder vault.vault:80";
  assert.deepEqual(failing(evidence({ [pair]: tunnelled(pair) })), ["policy"]);
  assert.deepEqual(failing(evidence({ [pair]: refused(pair, "POLICY_DENIED") })), ["policy"]);
});

test("a pair that was never seen fails what is said of it", () => {
  const without = evidence();
  const observations = new Map(without.observations);
  observations.delete("outside/visitor vault.vault:80");
  assert.deepEqual(failing({ ...without, observations }), ["policy"]);
});

test("an idle worker, and an outcome that was not decided so, are named", () => {
  assert.deepEqual(failing({ ...evidence(), workers: new Set(["node1/0"]) }), ["workers"]);
  const [row] = evidence().rows;
  assert.deepEqual(failing({ ...evidence(), rows: [{ ...row!, asPredicted: false }] }), ["prediction"]);
});

const seen = Object.fromEntries(markers.open.map((marker) => [marker, 5]));

function failing(of: Evidence): string[] {
  return [...new Set(judge(of).flatMap(({ part, held }) => (held ? [] : [part])))];
}

function evidence(changed: Partial<Record<Pair, Observation>> = {}, link = { marked: seen, dropped: 0 }): Evidence {
  const observations = new Map<string, Observation[]>();
  for (const pair of pairs) observations.set(pair, [changed[pair] ?? usual(pair)]);
  const plaintext = { kind: "plaintext" } as const;
  const row = { client: "a/b", target: "c:80", outcome: plaintext, servedBy: "c/d", ms: 1, requests: 1 };
  return {
    observations,
    rows: [{ ...row, predicted: plaintext, asPredicted: true }],
    link,
    workers: new Set(["node1/0", "node1/1"]),
    expectedWorkers: new Set(["node1/0", "node1/1"]),
    nowMs: 10_000,
  };
}

function usual(pair: Pair): Observation {
  if (pair === "shop/intruder vault.vault:80") return refused(pair, "POLICY_DENIED", "vault/no-intruders");
  if (pair === "outside/visitor vault.vault:80") return refused(pair, "POLICY_MTLS_REQUIRED", "istio-system/strict");
  if (pair.startsWith("outside/")) return plain(pair, false);
  return pair.endsWith("echo.outside:80") ? plain(pair, true) : tunnelled(pair);
}

function tunnelled(pair: Pair): Observation {
  const request = plain(pair, true);
  return { ...request, outbound: record("outbound", "hbone"), inbound: record("inbound", "hbone") };
}

function plain(pair: Pair, captured: boolean): Observation {
  const [from = "", target = ""] = pair.split(" ");
  const attempt = {
    event: "attempt",
    id: "1",
    from,
    target,
    remote: "10.96.0.1:80",
    local: "10.244.1.2:4000",
  } as const;
  return {
    attempt: { ...attempt, status: 200, ms: 1 },
    heardMs: 0,
    served: { event: "served", id: "1", pod: "x/y", peer: "10.244.1.2:5000" },
    ...(captured && { outbound: record("outbound", "tcp") }),
  };
}

function refused(pair: Pair, reason: string, policy?: string): Observation {
  const { served: _, ...request } = plain(pair, true);
  const { status: __, ...attempt } = request.attempt;
  const inbound = { ...record("inbound", "hbone"), reason, ...(policy !== undefined && { policy }) };
  return { ...request, attempt: { ...attempt, error: "ECONNRESET" }, inbound };
}

function record(direction: "outbound" | "inbound", protocol: "hbone" | "tcp"): CloseRecord {
  const identity = "spiffe://cluster.local/ns/shop/sa/client";
  return { direction, protocol, reason: "OK", "src.addr": "10.244.1.2:4000", "src.identity": identity, trace: "t" };
}
