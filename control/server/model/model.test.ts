import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { Authorization } from "../../../core/protocol/generated/security.ts";
import { Address } from "../../../core/protocol/generated/workload.ts";
import { silentLog } from "../../../core/base/log.ts";
import { DirectorySource } from "../../sources/directory.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { refKey, refOf, type ObjectDelta } from "../../sources/source.ts";
import { Model, type ModelChange } from "./model.ts";
import { addressTypeUrl, authorizationTypeUrl, type Resource } from "./resources.ts";

const vectors = new URL("../../../test/vectors/scenario-a/", import.meta.url);
const recorded = readRecorded();

/** Where we mean something else than what was recorded, and why. */
const differences: Record<string, { field: string; ours: unknown; because: string }> = {
  "Kubernetes/networking.istio.io/ServiceEntry/shop/dns-entry/db.example.com": unselected(),
  "Kubernetes/networking.istio.io/ServiceEntry/shop/static-entry/203.0.113.1": unselected(),
  "Kubernetes/networking.istio.io/ServiceEntry/shop/static-entry/203.0.113.2": unselected(),
};

test("the recorded cluster yields every recorded workload, service and policy with the same meaning", () => {
  const model = new Model();
  model.apply(recorded.objects.map(put));
  for (const { typeUrl, name, bytes } of recorded.resources) {
    const resource = model.resources(typeUrl).get(name);
    assert.ok(resource, `${name} is missing`);
    const expected = decode({ typeUrl, bytes });
    const difference = differences[name];
    if (difference !== undefined) {
      assert.notDeepEqual(expected[difference.field], difference.ours, `${name}: no difference to explain any more`);
      expected[difference.field] = difference.ours;
    }
    assert.deepEqual(decode(resource), expected, name);
  }
  const expectedNames = recorded.resources.map(({ name }) => name).sort();
  assert.deepEqual(
    everything(model)
      .map(({ name }) => name)
      .sort(),
    expectedNames,
  );
});

test("the recorded cluster is the same when it is read from a folder", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-model-"));
  t.after(() => rmSync(folder, { recursive: true }));
  copyFileSync(new URL("state.json", vectors), join(folder, "state.json"));
  const source = new DirectorySource({ manifests: folder, status: join(folder, "status"), log: silentLog });
  t.after(() => source.close());
  await source.synced;
  const [fromFolder, parsed] = [new Model(), new Model()];
  fromFolder.apply([...source.list().objects()].map(put));
  parsed.apply(recorded.objects.map(put));
  assert.deepEqual(everything(fromFolder), everything(parsed));
  assert.deepEqual(
    source.problems().map(({ level, message }) => `${level} ${message.split(" ")[4]}`),
    ["note DestinationRule", "note HTTPRoute", "note RequestAuthentication", "note VirtualService"],
  );
});

test("the recorded cluster's statuses say what its policies lost and which waypoints are bound", () => {
  const { statuses } = new Model().apply(recorded.objects.map(put));
  const said = statuses.flatMap(({ ref, conditions }) =>
    conditions.map(({ type, status, reason }) => `${refKey(ref)} ${type}=${status} ${reason}`),
  );
  assert.deepEqual(said.sort(), [
    "AuthorizationPolicy/istio-system/mesh-wide ZtunnelAccepted=True Accepted",
    "AuthorizationPolicy/shop/allow-productpage ZtunnelAccepted=True Accepted",
    "AuthorizationPolicy/shop/deny-legacy ZtunnelAccepted=True Accepted",
    "AuthorizationPolicy/shop/l7-allow ZtunnelAccepted=True UnsupportedValue",
    "AuthorizationPolicy/shop/l7-deny ZtunnelAccepted=True UnsupportedValue",
    "AuthorizationPolicy/vault/allow-nothing ZtunnelAccepted=True Accepted",
    "AuthorizationPolicy/vault/dry ZtunnelAccepted=False UnsupportedValue",
    "Service/shop/checkout istio.io/WaypointBound=True WaypointAccepted",
    "Service/shop/reviews istio.io/WaypointBound=True WaypointAccepted",
    "Service/vault/db istio.io/WaypointBound=True WaypointAccepted",
  ]);
});

test("bytes do not depend on the order in which objects were learnt", () => {
  const straight = new Model();
  straight.apply(recorded.objects.map(put));
  fc.assert(
    fc.property(fc.shuffledSubarray([...recorded.objects], { minLength: recorded.objects.length }), (objects) => {
      const model = new Model();
      for (const object of objects) model.apply([put(object)]);
      assert.deepEqual(everything(model), everything(straight));
    }),
    { numRuns: 10 },
  );
});

test("after any churn the model is what it would be built from scratch, and its changes add up to it", () => {
  fc.assert(
    fc.property(fc.array(fc.array(arbitraryStep(), { minLength: 1, maxLength: 4 }), { maxLength: 25 }), (batches) => {
      const model = new Model();
      const objects = new Map<string, KubeObject>();
      const heard = new Listener();
      for (const batch of batches) {
        const deltas = batch.flatMap((step): ObjectDelta[] => {
          const key = refKey(refOf(step.object));
          const before = objects.get(key);
          if (step.op === "put") {
            objects.set(key, step.object);
            return [step];
          }
          objects.delete(key);
          return before === undefined ? [] : [{ op: "removed", object: before }];
        });
        for (const { op, object } of deltas) if (op === "removed") heard.conditions.delete(refKey(refOf(object)));
        heard.hear(model.apply(deltas));
      }
      const scratch = new Model();
      const fresh = new Listener();
      fresh.hear(scratch.apply([...objects.values()].map(put)));
      assert.deepEqual(everything(model), everything(scratch));
      assert.deepEqual(heard.sorted(), everything(model));
      assert.deepEqual(heard.spoken(), fresh.spoken());
    }),
    { numRuns: 200 },
  );
});

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

class Listener {
  readonly #resources = new Map<string, Resource>();
  readonly conditions = new Map<string, string>();

  hear(change: ModelChange): void {
    for (const [typeUrl, { changed, removed }] of change.resources) {
      for (const name of removed) assert.ok(this.#resources.delete(`${typeUrl} ${name}`), `${name} was not there`);
      for (const resource of changed) {
        const key = `${typeUrl} ${resource.name}`;
        assert.notEqual(this.#resources.get(key)?.version, resource.version, `${resource.name} did not change`);
        this.#resources.set(key, resource);
      }
    }
    for (const { ref, conditions } of change.statuses) this.conditions.set(refKey(ref), JSON.stringify(conditions));
  }

  sorted(): Resource[] {
    return sortByName([...this.#resources.values()]);
  }

  /** Silence and an empty list say the same. */
  spoken(): string[] {
    return [...this.conditions]
      .filter(([, text]) => text !== "[]")
      .map((pair) => pair.join(" "))
      .sort();
  }
}

function everything(model: Model): Resource[] {
  return sortByName([addressTypeUrl, authorizationTypeUrl].flatMap((url) => [...model.resources(url).values()]));
}

function sortByName(resources: Resource[]): Resource[] {
  return resources.sort((a, b) => (a.typeUrl + a.name < b.typeUrl + b.name ? -1 : 1));
}

function decode({ typeUrl, bytes }: { typeUrl: string; bytes: Uint8Array }): Record<string, unknown> {
  const message = typeUrl === addressTypeUrl ? Address.decode(bytes).type?.value : Authorization.decode(bytes);
  assert.ok(message);
  return { ...message };
}

function readRecorded(): { objects: KubeObject[]; resources: { typeUrl: string; name: string; bytes: Uint8Array }[] } {
  const read = (file: string): unknown => JSON.parse(readFileSync(new URL(file, vectors), "utf8"));
  const { items } = read("state.json") as { items: unknown[] };
  const types = read("wds.json") as Record<string, { resources: { name: string; base64: string }[] }>;
  return {
    objects: items.flatMap((item) => {
      const parsed = parseObject(item);
      return parsed.result === "object" ? parsed.object : [];
    }),
    resources: Object.entries(types).flatMap(([typeUrl, { resources }]) =>
      resources.map(({ name, base64 }) => ({ typeUrl, name, bytes: Buffer.from(base64, "base64") })),
    ),
  };
}

function unselected(): { field: string; ours: unknown; because: string } {
  return {
    field: "authorizationPolicies",
    ours: [],
    because: "a selector must not select an endpoint that does not have its labels",
  };
}

function put(object: KubeObject): ObjectDelta {
  return { op: "put", object };
}

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

/** Objects of a world so small that they meet. */
function arbitraryStep(): fc.Arbitrary<ObjectDelta> {
  const name = fc.constantFrom("x", "y");
  const namespace = fc.constantFrom("shop", "vault", "istio-system");
  const labels = fc.dictionary(fc.constantFrom("app", "version"), fc.constantFrom("a", "b"), { maxKeys: 2 });
  const waypointLabels = fc.oneof(
    labels,
    fc.record({
      app: fc.constantFrom("a", "b"),
      "istio.io/use-waypoint": fc.constantFrom("x", "y", "none"),
      "istio.io/use-waypoint-namespace": fc.constantFrom("shop", "vault"),
    }),
    fc.record({ app: fc.constant("a"), "gateway.networking.k8s.io/gateway-name": name }),
  );
  const created = fc.constantFrom("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
  const mode = fc.constantFrom("UNSET", "DISABLE", "PERMISSIVE", "STRICT");
  const host = fc.constantFrom("a.example", "b.example", "x.shop.svc.cluster.local");
  const specs: [apiVersion: string, kind: string, body: fc.Arbitrary<object>][] = [
    ["v1", "Namespace", fc.constant({})],
    ["v1", "Node", fc.constant({})],
    [
      "v1",
      "Pod",
      fc.record({
        spec: fc.record({
          nodeName: name,
          hostNetwork: fc.boolean(),
          containers: fc.constantFrom([], [{ name: "c", ports: [{ name: "web", containerPort: 8080 }] }]),
        }),
        status: fc.record({
          podIP: fc.constantFrom("10.0.0.1", "10.0.0.2", ""),
          phase: fc.constantFrom("Running", "Failed"),
        }),
      }),
    ],
    [
      "v1",
      "Service",
      fc.record({
        spec: fc.record({
          selector: labels,
          type: fc.constantFrom("ClusterIP", "ExternalName"),
          ports: fc.constantFrom([], [{ name: "web", port: 80, targetPort: "web" }], [{ port: 80, targetPort: 81 }]),
        }),
      }),
    ],
    [
      "discovery.k8s.io/v1",
      "EndpointSlice",
      fc.record({
        ports: fc.constant([{ name: "web", port: 99 }]),
        endpoints: fc.constantFrom(
          [{ addresses: ["192.0.2.1"] }],
          [{ addresses: ["10.0.0.1"], targetRef: { kind: "Pod", name: "x" } }],
        ),
      }),
    ],
    [
      "security.istio.io/v1",
      "AuthorizationPolicy",
      fc.record({
        spec: fc.record({
          action: fc.constantFrom("ALLOW", "DENY", "AUDIT"),
          selector: fc.record({ matchLabels: labels }),
          targetRefs: fc.constantFrom([], [], [{ kind: "Service", name: "x" }]),
        }),
      }),
    ],
    [
      "security.istio.io/v1",
      "PeerAuthentication",
      fc.record({
        spec: fc.oneof(
          fc.record({ mtls: fc.record({ mode }) }),
          fc.record({
            mtls: fc.record({ mode }),
            selector: fc.record({ matchLabels: fc.record({ app: fc.constantFrom("a", "b") }) }),
            portLevelMtls: fc.dictionary(fc.constantFrom("80", "8080"), fc.record({ mode }), { maxKeys: 2 }),
          }),
        ),
      }),
    ],
    [
      "networking.istio.io/v1",
      "ServiceEntry",
      fc.record({
        spec: fc.record({
          hosts: fc.uniqueArray(host, { minLength: 1, maxLength: 2 }),
          resolution: fc.constantFrom("NONE", "STATIC", "DNS"),
          ports: fc.constant([{ name: "web", number: 80, protocol: "HTTP" }]),
          endpoints: fc.constantFrom([], [{ address: "192.0.2.9", labels: { app: "a" } }]),
          workloadSelector: fc.record({ labels }),
        }),
      }),
    ],
    ["networking.istio.io/v1", "WorkloadEntry", fc.record({ spec: fc.record({ address: host, labels }) })],
    [
      "gateway.networking.k8s.io/v1",
      "Gateway",
      fc.record({
        spec: fc.record({
          gatewayClassName: name,
          listeners: fc.constantFrom(
            [],
            [{ name: "mesh", port: 15008, protocol: "HBONE" }],
            [{ name: "mesh", port: 15008, protocol: "HBONE", allowedRoutes: { namespaces: { from: "All" } } }],
          ),
        }),
        status: fc.record({ addresses: fc.constantFrom([], [{ type: "IPAddress", value: "10.96.0.9" }]) }),
      }),
    ],
    ["gateway.networking.k8s.io/v1", "GatewayClass", fc.constant({ spec: { controllerName: "c" } })],
  ];
  const object = fc
    .oneof(...specs.map(([apiVersion, kind, body]) => body.map((fields) => ({ apiVersion, kind, fields }))))
    .chain(({ apiVersion, kind, fields }) =>
      fc.record({ name, namespace, labels: waypointLabels, created }).map((meta): KubeObject => {
        const isGateway = kind === "Gateway" || kind === "GatewayClass";
        const extra = {
          ...(isGateway && { "istio.io/waypoint-for": meta.labels["app"] === "a" ? "all" : "service" }),
          ...(kind === "EndpointSlice" && { "kubernetes.io/service-name": meta.name }),
          ...(kind === "Node" && { "topology.kubernetes.io/zone": meta.created }),
        };
        const metadata = {
          name: kind === "Namespace" ? meta.namespace : meta.name,
          namespace: meta.namespace,
          creationTimestamp: meta.created,
          labels: { ...meta.labels, ...extra },
        };
        const parsed = parseObject({ apiVersion, kind, metadata, ...fields });
        assert.ok(parsed.result === "object", JSON.stringify(parsed));
        return parsed.object;
      }),
    );
  return fc.record({ op: fc.constantFrom("put", "put", "removed"), object });
}
