import assert from "node:assert/strict";
import { test } from "node:test";
import type { ApiPod } from "../clients/api-objects.ts";
import { appPod } from "../test-support/demo-cluster.ts";
import { captureOf, type CaptureFacts } from "./pod-capture.ts";

const facts: CaptureFacts = {
  namespaceLabels: { "istio.io/dataplane-mode": "ambient" },
  daemonNodes: new Set(["node1"]),
  warnings: [],
  excluded: new Set(["kube-system"]),
};

test("what the node daemon has annotated is captured", () => {
  assert.deepEqual(captureOf(appPod("a", "node1", "captured"), facts), { state: "captured" });
});

test("a pod that can't be captured is named with the reason", () => {
  assert.match(why(appPod("a", "node1", "pending", { hostNetwork: true })), /^cannot.*hostNetwork/);
  assert.match(why(annotated("sidecar.istio.io/status")), /^cannot.*sidecar/);
  assert.match(why(appPod("a", "node2", "pending")), /^cannot.*no ready ambientd-cni runs on its node node2/);
  assert.match(why({ ...pending, metadata: { ...pending.metadata, namespace: "kube-system" } }), /^cannot.*excluded/);
});

test("labels that don't want it are said, the pod's own before its namespace's", () => {
  assert.match(why(labelled("none")), /^not-wanted.*its own label/);
  assert.match(why(pending, { ...facts, namespaceLabels: {} }), /^not-wanted.*neither/);
  assert.match(why(labelled("ambient"), { ...facts, namespaceLabels: {} }), /^pending/);
});

test("a pod on its way says what it waits for, in its node's own words where there are any", () => {
  const warning = (uid: string, message: string): object => ({
    reason: "AmbientNotCaptured",
    message,
    involvedObject: { name: "a", uid },
  });
  assert.match(why(pending), /^pending.*node1 hasn't said/);
  const warnings = [warning("a", "no agent"), warning("of an earlier one", "something else")];
  assert.equal(why(pending, { ...facts, warnings }), "pending: AmbientNotCaptured: no agent");
  const { nodeName: _, ...spec } = pending.spec;
  assert.match(why({ ...pending, spec }), /^pending.*no node/);
  assert.match(why({ ...pending, status: { phase: "Pending" } }), /^pending.*no address/);
});

test("a pod that has ended is out, whatever its annotation still says", () => {
  const ended = { ...appPod("a", "node1", "captured"), status: { phase: "Succeeded" } };
  assert.deepEqual(captureOf(ended, facts), { state: "ended" });
});

const pending = appPod("a", "node1", "pending");

function labelled(mode: string): ApiPod {
  return { ...pending, metadata: { ...pending.metadata, labels: { "istio.io/dataplane-mode": mode } } };
}

function annotated(name: string): ApiPod {
  return { ...pending, metadata: { ...pending.metadata, annotations: { [name]: "{}" } } };
}

function why(pod: ApiPod, given: CaptureFacts = facts): string {
  const capture = captureOf(pod, given);
  return "why" in capture ? `${capture.state}: ${capture.why}` : capture.state;
}
