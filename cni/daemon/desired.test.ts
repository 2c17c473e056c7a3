import assert from "node:assert/strict";
import { test } from "node:test";
import { desiredPods, redirectionAnnotation } from "./desired.ts";
import { dataplaneModeLabel, defaultSelectionRules } from "./selectors.ts";
import { HandSource, namespace, pod } from "./test-support/objects.ts";

const settings = { node: "node1", dnsCapture: false, selection: defaultSelectionRules };
const ambient = { [dataplaneModeLabel]: "ambient" };

function wants(source: HandSource): Record<string, string> {
  const rows = [...desiredPods(source.list(), settings).values()];
  return Object.fromEntries(rows.map(({ uid, want, because }) => [uid, `${want}: ${because}`]));
}

test("rows are the pods of this node, by uid, each with what is wanted and why", () => {
  const source = new HandSource();
  source.put(
    namespace("shop", ambient),
    namespace("plain"),
    pod({ uid: "a", name: "a" }),
    pod({ uid: "elsewhere", name: "elsewhere", node: "node2" }),
    pod({ uid: "b", name: "b", namespace: "plain" }),
    pod({ uid: "c", name: "c", hostNetwork: true }),
    pod({ uid: "d", name: "d", phase: "Succeeded" }),
    pod({ uid: "e", name: "e", namespace: "plain", phase: "Failed" }),
    pod({ uid: "f", name: "f", phase: "Pending" }),
    pod({ uid: "g", name: "g", namespace: "nowhere", labels: ambient }),
    pod({ uid: "h", name: "h", namespace: "kube-system", labels: ambient }),
  );
  assert.deepEqual(wants(source), {
    a: "enrol: selected",
    b: "leave: not-selected",
    c: "leave: host-network",
    d: "forget: ended",
    e: "forget: ended",
    f: "enrol: selected",
    g: "enrol: selected",
    h: "leave: excluded-namespace",
  });
});

test("a row carries addresses, account, capture options and what the object says of redirection", () => {
  const source = new HandSource();
  const annotations = { [redirectionAnnotation]: "pending", "ambient.istio.io/dns-capture": "true" };
  source.put(pod({ uid: "a", name: "cart", annotations, addresses: ["10.0.0.2", "fd00::2"] }));
  const row = desiredPods(source.list(), settings).get("a");
  assert.deepEqual(row, {
    uid: "a",
    ref: { kind: "Pod", namespace: "shop", name: "cart" },
    serviceAccount: "default",
    sandboxUid: "a",
    addresses: ["10.0.0.2", "fd00::2"],
    want: "leave",
    because: "not-selected",
    capture: { dnsCapture: true, ingressMode: false, virtualInterfaces: [] },
    problems: [],
    redirection: "pending",
  });
});

test("what the plugin told of a pod's addresses counts until its status says something new", () => {
  const source = new HandSource();
  const told = new Map([["a", { addresses: ["10.0.0.2"], statusThen: ["10.0.0.1"] }]]);
  const addresses = () => desiredPods(source.list(), settings, told).get("a")?.addresses;
  source.put(pod({ uid: "a", name: "cart", phase: "Pending" }));
  assert.deepEqual(addresses(), ["10.0.0.2"]);
  // Of the sandbox that was there before the node was rebooted.
  source.put(pod({ uid: "a", name: "cart", addresses: ["10.0.0.1"] }));
  assert.deepEqual(addresses(), ["10.0.0.2"]);
  source.put(pod({ uid: "a", name: "cart", addresses: ["10.0.0.3"] }));
  assert.deepEqual(addresses(), ["10.0.0.3"]);
});

test("a static pod's cgroups bear another UID than its object", () => {
  const source = new HandSource();
  source.put(pod({ uid: "a", name: "etcd", annotations: { "kubernetes.io/config.mirror": "0123abcd" } }));
  assert.equal(desiredPods(source.list(), settings).get("a")?.sandboxUid, "0123abcd");
});

test("on a node that is released nobody is wanted, and what has ended is dropped as ever", () => {
  const source = new HandSource();
  source.put(namespace("shop", ambient), pod({ uid: "a", name: "a" }), pod({ uid: "b", name: "b", phase: "Failed" }));
  const rows = desiredPods(source.list(), { ...settings, released: true });
  assert.deepEqual([rows.get("a")?.want, rows.get("a")?.because], ["leave", "released"]);
  assert.equal(rows.get("b")?.want, "forget");
});
