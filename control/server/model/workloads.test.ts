import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Address,
  AppProtocol,
  IPFamilies,
  TunnelProtocol,
  WorkloadStatus,
} from "../../../core/protocol/generated/workload.ts";
import type { Port, Service, Workload } from "../../../core/protocol/generated/workload.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { Model } from "./model.ts";
import { addressTypeUrl } from "./resources.ts";

test("the annotation decides on the tunnel, the namespace's wish does not", () => {
  const tunnel = (metadata: object) => {
    const { tunnelProtocol, nativeTunnel } = onlyPod(
      pod("a", { metadata }),
      namespace({ "istio.io/dataplane-mode": "ambient" }),
    );
    return [tunnelProtocol, nativeTunnel];
  };
  assert.deepEqual(tunnel({}), [TunnelProtocol.NONE, false]);
  assert.deepEqual(tunnel({ annotations: { "ambient.istio.io/redirection": "enabled" } }), [
    TunnelProtocol.HBONE,
    false,
  ]);
  assert.deepEqual(tunnel({ annotations: { "ambient.istio.io/redirection": "pending" } }), [
    TunnelProtocol.NONE,
    false,
  ]);
  assert.deepEqual(tunnel({ labels: { "networking.istio.io/tunnel": "http" } }), [TunnelProtocol.HBONE, true]);
});

test("a pod is healthy when it is ready and stays", () => {
  const status = (conditions: object[], metadata: object = {}) =>
    onlyPod(pod("a", { metadata, status: { conditions } })).status;
  const ready = [{ type: "Ready", status: "True" }];
  assert.equal(status(ready), WorkloadStatus.HEALTHY);
  assert.equal(status([]), WorkloadStatus.UNHEALTHY);
  assert.equal(status(ready, { deletionTimestamp: "2026-01-01T00:00:00Z" }), WorkloadStatus.UNHEALTHY);
});

test("telemetry names a pod by its labels, else by who made it", () => {
  const named = (metadata: object) => {
    const { workloadName, canonicalName, canonicalRevision } = onlyPod(pod("a-5d-x", { metadata }));
    return [workloadName, canonicalName, canonicalRevision];
  };
  const owned = (kind: string, name: string) => ({ ownerReferences: [{ kind, name, controller: true }] });
  assert.deepEqual(named({}), ["a-5d-x", "a-5d-x", "latest"]);
  assert.deepEqual(named({ ...owned("ReplicaSet", "a-5d"), labels: { "pod-template-hash": "5d" } }), [
    "a",
    "a",
    "latest",
  ]);
  assert.deepEqual(named(owned("ReplicaSet", "a-5d")), ["a-5d", "a-5d", "latest"]);
  assert.deepEqual(named(owned("Job", "backup-29000000")), ["backup", "backup", "latest"]);
  assert.deepEqual(named(owned("DaemonSet", "logs")), ["logs", "logs", "latest"]);
  assert.deepEqual(named({ labels: { app: "x", version: "v1", "app.kubernetes.io/name": "y" } })[1], "y");
  assert.deepEqual(named({ labels: { version: "v1", "service.istio.io/canonical-revision": "v2" } })[2], "v2");
});

test("a named port is looked for in containers and in the sidecars among the init containers", () => {
  const port = (name: string, containerPort: number, more: object = {}) => ({
    name: "c",
    ports: [{ name, containerPort, ...more }],
  });
  const target = (containers: object[], initContainers: object[] = []) => {
    const labels = { app: "a" };
    const spec = { containers, initContainers };
    const workload = onlyPod(
      pod("a", { metadata: { labels }, spec }),
      service("s", { selector: labels, ports: [{ port: 80, targetPort: "web" }] }),
    );
    return pairs(workload.services["shop/s.shop.svc.cluster.local"]?.ports);
  };
  assert.deepEqual(target([port("admin", 1), port("web", 8080)]), [[80, 8080]]);
  assert.deepEqual(target([], [{ ...port("web", 8081), restartPolicy: "Always" }]), [[80, 8081]]);
  // It belongs to the service all the same.
  assert.deepEqual(target([port("web", 53, { protocol: "UDP" })], [port("web", 8081)]), []);
});

test("a service is told with what agents need: addresses, families, ports of TCP, preference", () => {
  const derived = (spec: object, metadata: object = {}) => onlyService(service("s", spec, metadata));
  const ports = [
    { name: "http-api", port: 80 },
    { name: "dns", port: 53, protocol: "UDP" },
    { name: "x", port: 81, targetPort: "web", appProtocol: "kubernetes.io/h2c" },
  ];
  assert.deepEqual(
    derived({ ports }).ports.map(({ servicePort, targetPort, appProtocol }) => [servicePort, targetPort, appProtocol]),
    [
      [80, 80, AppProtocol.HTTP11],
      [81, 0, AppProtocol.HTTP2],
    ],
  );
  const dual = derived({ clusterIPs: ["10.96.0.1", "fd00::1"] });
  assert.deepEqual(
    dual.addresses.map(({ address }) => address.length),
    [4, 16],
  );
  assert.equal(dual.ipFamilies, IPFamilies.DUAL);
  assert.deepEqual(derived({ clusterIP: "None" }).addresses, []);
  assert.equal(derived({}).ipFamilies, IPFamilies.AUTOMATIC);
  const preference = (spec: object, metadata: object = {}) => {
    const { loadBalancing } = derived(spec, metadata);
    return loadBalancing && [loadBalancing.routingPreference, loadBalancing.mode, loadBalancing.healthPolicy];
  };
  const annotations = { "networking.istio.io/traffic-distribution": "PreferSameNode" };
  assert.equal(preference({}), undefined);
  assert.deepEqual(preference({ internalTrafficPolicy: "Local", trafficDistribution: "PreferClose" }), [[4], 1, 0]);
  assert.deepEqual(preference({ trafficDistribution: "PreferSameZone" }, { annotations }), [[6, 1, 2], 2, 0]);
  assert.deepEqual(preference({ publishNotReadyAddresses: true }, { annotations }), [[6, 1, 2, 3, 4], 2, 1]);
});

test("a DNS alias is no service", () => {
  assert.equal(build(service("s", { type: "ExternalName" })).size, 0);
});

test("the network of the root namespace is everybody's", () => {
  const root = parse("v1", "Namespace", { name: "istio-system", labels: { "topology.istio.io/network": "n1" } });
  assert.equal(onlyPod(pod("a", {}), root).network, "n1");
  assert.equal(onlyService(service("s", { clusterIP: "10.96.0.1" }), root).addresses[0]?.network, "n1");
});

test("a pod that a slice names for a service without a selector belongs to it, by its uid", () => {
  const slice = (uid: string) =>
    parse(
      "discovery.k8s.io/v1",
      "EndpointSlice",
      { name: "s1", namespace: "shop", labels: { "kubernetes.io/service-name": "s" } },
      {
        endpoints: [{ addresses: ["10.0.0.1"], targetRef: { kind: "Pod", name: "a", uid } }],
        ports: [{ name: "web", port: 8081 }],
      },
    );
  const manual = service("s", { ports: [{ name: "web", port: 80 }] });
  const member = (uid: string) => onlyPod(pod("a", { metadata: { uid: "u1" } }), manual, slice(uid)).services;
  assert.deepEqual(pairs(member("u1")["shop/s.shop.svc.cluster.local"]?.ports), [[80, 8081]]);
  assert.deepEqual(member("u2"), {});
});

test("a ServiceEntry's address ranges keep their length, and two endpoints of one address are one", () => {
  const entry = parse(
    "networking.istio.io/v1",
    "ServiceEntry",
    { name: "e", namespace: "shop" },
    {
      spec: {
        hosts: ["a.example"],
        addresses: ["192.0.2.7", "198.51.100.9/24"],
        resolution: "STATIC",
        ports: [{ name: "tcp", number: 80, protocol: "TCP" }],
        endpoints: [
          { address: "203.0.113.1", weight: 2 },
          { address: "203.0.113.1", weight: 3 },
        ],
        subjectAltNames: ["spiffe://cluster.local/ns/a/sa/b"],
      },
    },
  );
  const model = build(entry);
  const derived = serviceIn(model, "shop/a.example");
  assert.deepEqual(
    derived.addresses.map(({ address, length }) => [...address, length]),
    [
      [192, 0, 2, 7, undefined],
      [198, 51, 100, 0, 24],
    ],
  );
  assert.deepEqual(derived.subjectAltNames, ["spiffe://cluster.local/ns/a/sa/b"]);
  assert.equal(workloadIn(model, "Kubernetes/networking.istio.io/ServiceEntry/shop/e/203.0.113.1").capacity, 2);
});

type Resources = ReturnType<Model["resources"]>;

function build(...objects: KubeObject[]): Resources {
  const model = new Model();
  model.apply(objects.map((object) => ({ op: "put", object })));
  return model.resources(addressTypeUrl);
}

function onlyPod(object: KubeObject, ...others: KubeObject[]): Workload {
  return workloadIn(build(object, ...others), `Kubernetes//Pod/shop/${object.metadata.name}`);
}

function onlyService(object: KubeObject, ...others: KubeObject[]): Service {
  return serviceIn(build(object, ...others), `shop/${object.metadata.name}.shop.svc.cluster.local`);
}

function workloadIn(resources: Resources, uid: string): Workload {
  const { type } = Address.decode(resources.get(uid)!.bytes);
  assert.ok(type?.$case === "workload");
  return type.value;
}

function serviceIn(resources: Resources, name: string): Service {
  const { type } = Address.decode(resources.get(name)!.bytes);
  assert.ok(type?.$case === "service");
  return type.value;
}

function pairs(ports: readonly Port[] | undefined): number[][] | undefined {
  return ports?.map(({ servicePort, targetPort }) => [servicePort, targetPort]);
}

function pod(name: string, more: { metadata?: object; spec?: object; status?: object }): KubeObject {
  const status = { podIP: "10.0.0.1", ...more.status };
  return parse("v1", "Pod", { name, namespace: "shop", ...more.metadata }, { spec: more.spec, status });
}

function service(name: string, spec: object, metadata: object = {}): KubeObject {
  return parse("v1", "Service", { name, namespace: "shop", ...metadata }, { spec });
}

function namespace(labels: object): KubeObject {
  return parse("v1", "Namespace", { name: "shop", labels });
}

function parse(apiVersion: string, kind: string, metadata: object, body: object = {}): KubeObject {
  const parsed = parseObject({ apiVersion, kind, metadata, ...body });
  assert.ok(parsed.result === "object", JSON.stringify(parsed));
  return parsed.object;
}
