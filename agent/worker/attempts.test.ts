import assert from "node:assert/strict";
import { test } from "node:test";
import type { OutboundDecision } from "../../core/decision/route.ts";
import { pod, port, service } from "../../test/support/mesh.ts";
import { Attempts, attemptWithinMs } from "./attempts.ts";
import type { Failure } from "./socket-errors.ts";

const web = service("default/web", "10.96.0.1", [port(80, 8080)]);
const refused: Failure = { reason: "CONNECT_REFUSED", details: {} };
const restarting: Failure = { reason: "TUNNEL_LOST", details: {}, again: true };
const denied: Failure = { reason: "PEER_DENIED", details: {} };
const gone: Failure = { reason: "WORKLOAD_GONE", details: {} };
const nobody: Failure = { reason: "NO_HEALTHY_UPSTREAM", details: {} };
const none: OutboundDecision = { kind: "refuse", reason: "NO_HEALTHY_UPSTREAM", trace: [] };

function towards(name: string, addressed: "service" | "pod" = "service"): OutboundDecision {
  const workload = pod(`default/${name}`, "10.0.0.1");
  const target = { address: "10.0.0.1", port: 8080 };
  return { kind: "direct", workload, target, trace: [], ...(addressed === "service" && { service: web }) };
}

function begin(): Attempts {
  return new Attempts(0, () => 0.5);
}

test("a service's endpoint that refuses is left out, and two others at most are tried", () => {
  const attempts = begin();
  assert.deepEqual(attempts.next(towards("a"), refused, 0), { kind: "try", afterMs: 0 });
  assert.deepEqual(attempts.next(towards("b"), refused, 0), { kind: "try", afterMs: 0 });
  assert.deepEqual([...attempts.exclude], ["Kubernetes//Pod/default/a", "Kubernetes//Pod/default/b"]);
  assert.deepEqual(attempts.next(towards("c"), refused, 0), { kind: "give-up" });
  assert.equal(attempts.failed, 3);
});

test("without another endpoint the failure is the reason, not the lack of one", () => {
  const attempts = begin();
  attempts.next(towards("a"), refused, 0);
  assert.deepEqual(attempts.next(none, nobody, 0), { kind: "give-up" });
  assert.equal(attempts.problem, refused);
  const without = begin();
  assert.deepEqual(without.next(none, nobody, 0), { kind: "give-up" });
  assert.equal(without.problem, nobody);
});

test("endpoints that are going are passed over one after the other, and whoever comes in their place is waited for", () => {
  const attempts = begin();
  for (const name of ["a", "b", "c", "d"]) {
    assert.deepEqual(attempts.next(towards(name), gone, 0), { kind: "try", afterMs: 0 });
  }
  assert.deepEqual(attempts.next(none, nobody, 0), { kind: "try", afterMs: 10 });
  assert.equal(attempts.exclude.size, 0);
  assert.deepEqual(attempts.next(none, nobody, 5_000), { kind: "give-up" });
  assert.equal(attempts.problem, gone);
  assert.deepEqual(
    begin().next(towards("a", "pod"), gone, 0),
    { kind: "give-up" },
    "nobody comes in a pod's own place",
  );
});

test("another pod of a waypoint is tried", () => {
  const workload = pod("default/w", "10.0.0.1");
  const waypoint: OutboundDecision = {
    kind: "hbone",
    via: "waypoint",
    workload,
    tunnel: { address: "10.0.0.1", port: 15_008 },
    authority: "10.0.0.9:80",
    identities: [],
    target: { address: "10.0.0.9", port: 80 },
    trace: [],
  };
  const attempts = begin();
  assert.deepEqual(attempts.next(waypoint, refused, 0), { kind: "try", afterMs: 0 });
  assert.deepEqual([...attempts.exclude], [workload.uid]);
});

test("a refusal by policy, and an application at a pod's own address that refuses, are final", () => {
  assert.deepEqual(begin().next(towards("a"), denied, 0), { kind: "give-up" });
  assert.deepEqual(begin().next(towards("a", "pod"), refused, 0), { kind: "give-up" });
});

test("an agent that is being restarted is asked again with growing pauses, for five seconds", () => {
  const attempts = begin();
  const pauses: number[] = [];
  let nowMs = 0;
  for (;;) {
    const next = attempts.next(towards("a", "pod"), restarting, nowMs);
    if (next.kind === "give-up") break;
    pauses.push(next.afterMs);
    nowMs += next.afterMs;
  }
  assert.deepEqual(pauses.slice(0, 7), [10, 20, 40, 80, 160, 320, 500]);
  assert.ok(nowMs >= 5_000 && nowMs < 5_600, `${nowMs} ms`);
  assert.equal(attempts.problem, restarting);
});

test("when the agents of all endpoints are away, the first is tried again in a moment", () => {
  const attempts = begin();
  attempts.next(towards("a"), restarting, 0);
  attempts.next(towards("b"), restarting, 0);
  assert.deepEqual(attempts.next(none, nobody, 0), { kind: "try", afterMs: 10 });
  assert.equal(attempts.exclude.size, 0);
});

test("an attempt takes three seconds where another endpoint could be tried, and all that is left where not", () => {
  const considered = (usable: number): OutboundDecision => ({
    ...none,
    trace: [{ code: "endpoints-considered", service: web.key, known: 2, healthy: 2, usable, nearest: usable }],
  });
  assert.equal(attemptWithinMs(considered(2), 10_000), 3_000);
  assert.equal(attemptWithinMs(considered(2), 2_000), 2_000);
  assert.equal(attemptWithinMs(considered(1), 10_000), 10_000);
  assert.equal(attemptWithinMs(none, 10_000), 10_000);
});
