import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, put } from "../../../test/support/model-reading.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { Model } from "./model.ts";
import { addressTypeUrl, authorizationTypeUrl } from "./resources.ts";

test("a change computes only the rows that looked at it", () => {
  const pods = Array.from({ length: 2_000 }, (_, index) =>
    pod(`p${index}`, { app: `app${index % 100}` }, `10.${index >> 8}.${index & 255}.1`),
  );
  const services = Array.from({ length: 100 }, (_, index) => service(`app${index}`, { app: `app${index}` }));
  const model = new Model();
  model.apply([...pods, ...services, node("node1", "z1")].map(put));

  const one = model.apply([put(pod("p0", { app: "app0" }, "10.0.0.2"))]);
  assert.equal(one.rows, 1);
  // The 20 pods behind the service, the service, and what it is told of its waypoint.
  const renamed = model.apply([put(service("app7", { app: "app7" }, 81))]);
  assert.equal(renamed.rows, 22);
  // A heartbeat: another object, the same locality.
  const heartbeat = model.apply([put(node("node1", "z1", { beat: "2" }))]);
  assert.deepEqual([heartbeat.rows, heartbeat.resources.size], [0, 0]);
  const policy = model.apply([put(authorization("gate", { app: "app3" }))]);
  assert.equal(policy.rows, 21);
  // Nobody is selected, but who has a label of that name and value is asked.
  assert.equal(model.apply([put(authorization("none", { app: "other" }))]).rows, 1);
});

test("an equal output is no event", () => {
  const model = new Model();
  model.apply([put(pod("a", { app: "a" }, "10.0.0.1"))]);
  const change = model.apply([put(pod("a", { app: "a", unrelated: "label" }, "10.0.0.1"))]);
  assert.equal(change.rows, 1);
  assert.equal(change.resources.size, 0);
  assert.deepEqual(change.statuses, []);
});

test("what was put and removed in one batch was never there", () => {
  const model = new Model();
  const object = pod("a", {}, "10.0.0.1");
  const change = model.apply([put(object), { op: "removed", object }]);
  assert.equal(change.resources.size, 0);
});

test("a pod appears with its address and goes when it is done", () => {
  const model = new Model();
  const phases = [undefined, "10.0.0.1"].map((ip) =>
    model.apply([put(pod("a", {}, ip))]).resources.get(addressTypeUrl),
  );
  assert.deepEqual(
    phases.map((change) => change?.changed.length ?? 0),
    [0, 1],
  );
  const done = model.apply([put(pod("a", {}, "10.0.0.1", { phase: "Succeeded" }))]).resources.get(addressTypeUrl);
  assert.deepEqual(done?.removed, ["Kubernetes//Pod/shop/a"]);
});

test("a namespace that nobody declared exists without labels", () => {
  const model = new Model();
  model.apply([put(service("a", { app: "a" }))]);
  assert.equal(model.resources(addressTypeUrl).size, 1);
});

test("a policy that appears with its workload is in the same change", () => {
  const change = new Model().apply([put(pod("a", { app: "a" }, "10.0.0.1")), put(authorization("gate", { app: "a" }))]);
  const workload = decode(change.resources.get(addressTypeUrl)!.changed[0]!);
  assert.deepEqual(workload["authorizationPolicies"], ["shop/gate"]);
  assert.deepEqual(
    change.resources.get(authorizationTypeUrl)?.changed.map(({ name }) => name),
    ["shop/gate"],
  );
});

test("a ServiceEntry waits behind a Service of the same name, and takes over from it", () => {
  const model = new Model();
  const kube = service("a", { app: "a" });
  const entry = parse("networking.istio.io/v1", "ServiceEntry", "late", {
    hosts: ["a.shop.svc.cluster.local"],
    ports: [{ name: "tcp", number: 90, protocol: "TCP" }],
    resolution: "STATIC",
    endpoints: [{ address: "192.0.2.1" }],
  });
  model.apply([put(entry), put(kube)]);
  assert.deepEqual([...model.resources(addressTypeUrl).keys()], ["shop/a.shop.svc.cluster.local"]);
  const change = model.apply([{ op: "removed", object: kube }]).resources.get(addressTypeUrl);
  assert.deepEqual(
    change?.changed.map(({ name }) => name),
    ["Kubernetes/networking.istio.io/ServiceEntry/shop/late/192.0.2.1", "shop/a.shop.svc.cluster.local"],
  );
  assert.deepEqual(change?.removed, []);
});

function parse(apiVersion: string, kind: string, name: string, spec: unknown, more: object = {}): KubeObject {
  const { metadata, ...rest } = more as { metadata?: object };
  const parsed = parseObject({ apiVersion, kind, metadata: { name, namespace: "shop", ...metadata }, spec, ...rest });
  assert.ok(parsed.result === "object", JSON.stringify(parsed));
  return parsed.object;
}

function pod(name: string, labels: object, podIP: string | undefined, status: object = {}): KubeObject {
  const spec = { nodeName: "node1", containers: [{ name: "c", ports: [{ name: "web", containerPort: 8080 }] }] };
  return parse("v1", "Pod", name, spec, { metadata: { labels }, status: { ...(podIP && { podIP }), ...status } });
}

function service(name: string, selector: object, port = 80): KubeObject {
  return parse("v1", "Service", name, { selector, ports: [{ port, targetPort: "web" }], clusterIP: "10.96.0.1" });
}

function node(name: string, zone: string, annotations: object = {}): KubeObject {
  return parse("v1", "Node", name, {}, { metadata: { labels: { "topology.kubernetes.io/zone": zone }, annotations } });
}

function authorization(name: string, matchLabels: object): KubeObject {
  return parse("security.istio.io/v1", "AuthorizationPolicy", name, { selector: { matchLabels }, rules: [{}] });
}
