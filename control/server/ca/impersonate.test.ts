import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Identity } from "../../../core/protocol/spiffe/identity.ts";
import { podYaml } from "../../../test/support/control-plane.ts";
import { MemorySource } from "../../../test/support/memory-source.ts";
import { CallerError, type Binding, type Caller } from "./authenticate.ts";
import { identityFor, type ImpersonationRules } from "./impersonate.ts";
import { LivePods } from "./live-pods.ts";

const cart = identity("cart");
const nodes = ["node1", "node2"].map(
  (name) => `apiVersion: v1\nkind: Node\nmetadata: { name: ${name}, uid: uid-${name} }\n`,
);

test("an agent that is a pod of the cluster acts for that pod's node, as long as it is the same pod", () => {
  const { rules, source } = cluster();
  source.put("agent", agentPod("node1", "uid-agent"));
  const agent = caller({ kind: "pod", pod: { name: "ztunnel-abc", uid: "uid-agent" } });
  assert.deepEqual(identityFor(agent, cart, rules), cart);
  source.put("agent", agentPod("node1", "uid-of-its-successor"));
  assert.equal(codeOf(identityFor(agent, cart, rules)), "caller.stale-pod");
  source.put("agent", agentPod("node2", "uid-agent"));
  assert.equal(codeOf(identityFor(agent, cart, rules)), "caller.no-live-pod");
  source.put("agent", undefined);
  assert.equal(codeOf(identityFor(agent, cart, rules)), "caller.stale-pod");
});

test("a token that is bound to nothing speaks for no node", () => {
  const { rules } = cluster();
  assert.equal(codeOf(identityFor(caller({ kind: "unbound" }), cart, rules)), "caller.unbound");
});

test("an ordinary account gets its own identity and nobody else's", () => {
  const { rules } = cluster();
  const shopper: Caller = { identity: identity("shopper"), binding: nodeAgent("node1") };
  assert.deepEqual(identityFor(shopper, undefined, rules), identity("shopper"));
  assert.equal(codeOf(identityFor(shopper, cart, rules)), "caller.untrusted-account");
});

test("an account is live on a node as long as one of its pods there is", () => {
  const { rules, source } = cluster();
  source.put(
    "second",
    podYaml("cart", "node1", "10.0.0.9").replace("name: cart,", "name: cart-2,").replace("uid-cart", "uid-2"),
  );
  source.put("cart", undefined);
  assert.deepEqual(identityFor(caller(nodeAgent("node1")), cart, rules), cart);
  source.put("second", undefined);
  assert.equal(codeOf(identityFor(caller(nodeAgent("node1")), cart, rules)), "caller.no-live-pod");
});

test("a pod that moves to another node takes its identity along", () => {
  const { rules, source } = cluster();
  source.put("cart", podYaml("cart", "node2", "10.0.0.1"));
  assert.equal(codeOf(identityFor(caller(nodeAgent("node1")), cart, rules)), "caller.no-live-pod");
  assert.deepEqual(identityFor(caller(nodeAgent("node2")), cart, rules), cart);
});

test("whatever pods come and go, an agent gets exactly the identities of the live pods on its node", () => {
  const change = fc.record({
    pod: fc.nat(5),
    account: fc.constantFrom("a", "b", "c"),
    node: fc.constantFrom("node1", "node2", ""),
    phase: fc.constantFrom("Pending", "Running", "Succeeded", "Failed", "gone"),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const { rules, source } = cluster();
      source.put("cart", undefined);
      const now = new Map<number, { account: string; node: string; phase: string }>();
      for (const { pod, account, node, phase } of changes) {
        now.delete(pod);
        if (phase !== "gone") now.set(pod, { account, node, phase });
        const yaml = podYaml(`pod-${pod}`, node === "" ? '""' : node, "10.0.0.1", phase).replace(
          `serviceAccountName: pod-${pod}`,
          `serviceAccountName: ${account}`,
        );
        source.put(`pod-${pod}`, phase === "gone" ? undefined : yaml);
      }
      for (const node of ["node1", "node2"]) {
        for (const account of ["a", "b", "c"]) {
          const expected = [...now.values()].some(
            (pod) => pod.node === node && pod.account === account && /Pending|Running/.test(pod.phase),
          );
          const answer = identityFor(caller(nodeAgent(node)), identity(account), rules);
          assert.equal(!(answer instanceof CallerError), expected);
        }
      }
    }),
    { numRuns: 50 },
  );
});

function cluster(): { rules: ImpersonationRules; source: MemorySource } {
  const source = new MemorySource();
  const pods = new LivePods();
  source.subscribe((deltas) => pods.apply(deltas));
  for (const [index, node] of nodes.entries()) source.put(`node-${index}`, node);
  source.put("cart", podYaml("cart", "node1", "10.0.0.1"));
  const trustedNodeAccounts = new Set(["istio-system/ztunnel"]);
  return { source, rules: { trustDomain: "cluster.local", trustedNodeAccounts, pods } };
}

function agentPod(node: string, uid: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: { name: ztunnel-abc, namespace: istio-system, uid: ${uid} }
spec: { nodeName: ${node}, serviceAccountName: ztunnel, containers: [{ name: c, command: [x] }] }
`;
}

function caller(binding: Binding): Caller {
  return { identity: { trustDomain: "cluster.local", namespace: "istio-system", serviceAccount: "ztunnel" }, binding };
}

function nodeAgent(node: string): Binding {
  return { kind: "node-agent", node: { name: node, uid: `uid-${node}` }, pod: { name: `ztunnel-${node}`, uid: "x" } };
}

function codeOf(answer: Identity | CallerError): string | undefined {
  return answer instanceof CallerError ? answer.type.code : undefined;
}

function identity(serviceAccount: string): Identity {
  return { trustDomain: "cluster.local", namespace: "shop", serviceAccount };
}
