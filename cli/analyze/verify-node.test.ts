import assert from "node:assert/strict";
import { test } from "node:test";
import type { Component } from "../clients/components.ts";
import { renderChecks } from "../render/checks.ts";
import { appPod, demo, node } from "../test-support/demo-cluster.ts";
import { verifyNode, type Heard, type NodeFacts } from "./verify-node.ts";

const dump = demo().dumps["node1"]!;

const good: NodeFacts = {
  node: node("node1"),
  agents: [component("agent")],
  daemons: [component("cni")],
  daemonReady: heard({ status: 200, body: "ok\n" }),
  dump: heard(dump),
  pods: [appPod("client-1", "node1", "captured")],
  capture: () => ({
    namespaceLabels: { "istio.io/dataplane-mode": "ambient" },
    daemonNodes: new Set(["node1"]),
    warnings: [],
    excluded: new Set(),
  }),
  nowMs: Date.UTC(2030, 0, 1),
};

test("a node that does its part passes, one line a check", () => {
  assert.equal(
    renderChecks(verifyNode(good)),
    `node1  node-ready          ok  v1.36.3
node1  cni-ready           ok  ambient-system/cni-1
node1  plugin-installed    ok  the runtime's network configuration names it
node1  agent-ready         ok  ambient-system/agent-1
node1  control-connected   ok  its stream is live
node1  pods-captured       ok  1 labelled pod
node1  pods-served         ok  the agent listens in 1 pod
node1  certificates-valid  ok  1 identity
`,
  );
});

test("each thing that is wrong fails the check that is named for it, with a next step", () => {
  const wrong: Record<string, Partial<NodeFacts>> = {
    "node-ready": {
      node: { ...node("node1"), status: { conditions: [{ type: "Ready", status: "False", message: "PLEG" }] } },
    },
    "cni-ready": { daemons: [{ ...component("cni"), ready: false, problem: "cni: CrashLoopBackOff" }] },
    "plugin-installed": { daemonReady: heard({ status: 503, body: "no CNI configuration in /etc/cni/net.d yet\n" }) },
    "agent-ready": { agents: [] },
    "control-connected": {
      dump: heard({ ...dump, xds: { phase: "waiting", lastError: { code: "control.unreachable" } } }),
    },
    "pods-captured": { pods: [appPod("late", "node1", "pending")] },
    "pods-served": {
      dump: heard({ ...dump, workloadState: { "client-1": { state: "Pending", error: { code: "x" } } } }),
    },
    "certificates-valid": { nowMs: Date.UTC(2100, 0, 1) },
  };
  for (const [name, facts] of Object.entries(wrong)) {
    const failed = verifyNode({ ...good, ...facts }).filter(({ outcome }) => outcome === "failed");
    assert.deepEqual(
      failed.map((check) => check.name),
      [name],
    );
    assert.notEqual(failed[0]?.nextStep ?? "", "", name);
  }
});

test("the daemon's own sentence is what is shown", () => {
  const checks = verifyNode({
    ...good,
    daemonReady: heard({ status: 503, body: "the plugin is not installed: no such file\n" }),
  });
  assert.match(
    checks.find(({ name }) => name === "plugin-installed")?.finding ?? "",
    /^the plugin is not installed: no such file$/,
  );
});

test("an identity whose pod is captured and that was never asked for is named", () => {
  const checks = verifyNode({ ...good, dump: heard({ ...dump, certificates: [] }) });
  assert.match(checks.at(-1)?.finding ?? "", /\/ns\/shop\/sa\/app \(never asked for\)/);
});

test("what an agent that can't be asked would have said is skipped, with how to hear it", () => {
  const silent = { kind: "silent", why: "You may not forward a port", nextStep: "Ask for a Role." } as const;
  const skipped = verifyNode({ ...good, dump: silent }).filter(({ outcome }) => outcome === "skipped");
  assert.deepEqual(
    skipped.map(({ name }) => name),
    ["control-connected", "pods-served", "certificates-valid"],
  );
  for (const { finding, nextStep } of skipped)
    assert.equal(`${finding}. ${nextStep}`, "You may not forward a port. Ask for a Role.");
});

function component(name: "agent" | "cni"): Component {
  return {
    component: name,
    namespace: "ambient-system",
    pod: `${name}-1`,
    node: "node1",
    container: name,
    image: "ambientd:0.1.0",
    digest: "",
    ready: true,
    problem: undefined,
    running: true,
    isEnding: false,
    release: "0.1.0",
  };
}

function heard<T>(answer: T): Heard<T> {
  return { kind: "answer", answer };
}
