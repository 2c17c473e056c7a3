import assert from "node:assert/strict";
import { test } from "node:test";
import { Address, type GatewayAddress, type Workload } from "../../../core/protocol/generated/workload.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { refKey } from "../../sources/source.ts";
import { Model } from "./model.ts";
import { addressTypeUrl } from "./resources.ts";

const toWaypoint: GatewayAddress["destination"] = {
  $case: "hostname",
  value: { namespace: "shop", hostname: "way.shop.svc.cluster.local" },
};

test("a namespace's label binds its services, an object's own label beats it, and `none` opts out", () => {
  const model = build(
    gateway("way"),
    namespace("shop", { "istio.io/use-waypoint": "way" }),
    service("plain"),
    service("out", { "istio.io/use-waypoint": "none" }),
    service("lost", { "istio.io/use-waypoint": "nobody" }),
  );
  assert.deepEqual(waypointOf(model, "plain"), toWaypoint);
  assert.equal(waypointOf(model, "out"), undefined);
  // No falling back to the namespace's.
  assert.equal(waypointOf(model, "lost"), undefined);
  assert.deepEqual(model.said, {
    "Service/shop/lost": "False WaypointIsNotReady",
    "Service/shop/plain": "True WaypointAccepted",
  });
});

test("a workload is bound only by a waypoint for workloads, and is told only if it asked for one itself", () => {
  const model = build(
    gateway("way"),
    gateway("all", { labels: { "istio.io/waypoint-for": "all" } }),
    namespace("shop", { "istio.io/use-waypoint": "way" }),
    pod("plain"),
    pod("asks", { "istio.io/use-waypoint": "all" }),
    entry("vm", { "istio.io/use-waypoint": "way" }),
  );
  assert.equal(workload(model, "Kubernetes//Pod/shop/plain").waypoint, undefined);
  assert.equal(workload(model, "Kubernetes//Pod/shop/asks").waypoint?.hboneMtlsPort, 15008);
  assert.deepEqual(model.said, { "WorkloadEntry/shop/vm": "False UnsupportedTrafficType" });
});

test("the word of a Gateway's class counts where the Gateway is silent", () => {
  const model = build(
    gateway("way"),
    parse(
      "gateway.networking.k8s.io/v1",
      "GatewayClass",
      "class",
      {},
      { labels: { "istio.io/waypoint-for": "workload" } },
    ),
    service("a", { "istio.io/use-waypoint": "way" }),
    pod("b", { "istio.io/use-waypoint": "way" }),
  );
  assert.equal(waypointOf(model, "a"), undefined);
  assert.deepEqual(workload(model, "Kubernetes//Pod/shop/b").waypoint?.destination, toWaypoint);
});

test("a waypoint of another namespace must allow it", () => {
  const labels = { "istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "shop" };
  const bound = (allowedRoutes: object | undefined, namespaceLabels: object = {}) => {
    const model = build(
      gateway("way", { listener: allowedRoutes && { allowedRoutes } }),
      namespace("vault", namespaceLabels),
      parse("v1", "Service", "db", { ports: [{ port: 80 }] }, { namespace: "vault", labels }),
    );
    return model.said["Service/vault/db"];
  };
  assert.equal(bound(undefined), "False AttachmentDenied");
  assert.equal(bound({ namespaces: { from: "All" } }), "True WaypointAccepted");
  assert.equal(bound({ namespaces: { from: "Nonsense" } }), "False AttachmentDenied");
  const selector = { matchExpressions: [{ key: "team", operator: "In", values: ["a", "b"] }] };
  assert.equal(bound({ namespaces: { from: "Selector", selector } }), "False AttachmentDenied");
  assert.equal(bound({ namespaces: { from: "Selector", selector } }, { team: "b" }), "True WaypointAccepted");
});

test("binding follows the Gateway: not before its address, and no longer than it", () => {
  const model = build(gateway("way", { addresses: [] }), service("a", { "istio.io/use-waypoint": "way" }));
  assert.equal(waypointOf(model, "a"), undefined);
  model.put(gateway("way"));
  assert.deepEqual(waypointOf(model, "a"), toWaypoint);
  model.remove(gateway("way"));
  assert.equal(waypointOf(model, "a"), undefined);
  assert.equal(model.said["Service/shop/a"], "False WaypointIsNotReady");
});

test("a gateway that speaks no HBONE is no waypoint", () => {
  const model = build(
    gateway("way", { listener: { protocol: "HTTP", port: 80 } }),
    service("a", { "istio.io/use-waypoint": "way" }),
  );
  assert.equal(waypointOf(model, "a"), undefined);
});

test("a waypoint with nothing but an IP address is told by it", () => {
  const model = build(
    gateway("way", { addresses: [{ type: "IPAddress", value: "10.96.0.9" }] }),
    service("a", { "istio.io/use-waypoint": "way" }),
  );
  assert.deepEqual(waypointOf(model, "a"), {
    $case: "address",
    value: { network: "", address: Buffer.from([10, 96, 0, 9]) },
  });
});

test("a waypoint's own pods, gateways' services and host-network pods are never bound", () => {
  const use = { "istio.io/use-waypoint": "way" };
  const model = build(
    gateway("way", { labels: { "istio.io/waypoint-for": "all" } }),
    pod("way-1", { ...use, "gateway.networking.k8s.io/gateway-name": "way" }),
    pod("host", use, { hostNetwork: true }),
    service("way", { ...use, "gateway.istio.io/managed": "istio.io-mesh-controller" }),
  );
  assert.equal(workload(model, "Kubernetes//Pod/shop/way-1").waypoint, undefined);
  assert.equal(workload(model, "Kubernetes//Pod/shop/host").waypoint, undefined);
  assert.equal(waypointOf(model, "way"), undefined);
});

test("the pods of a waypoint that wants PROXY get their tunnels ended by the agent", () => {
  const annotations = { "ambient.istio.io/waypoint-inbound-binding": "PROXY/15088" };
  const model = build(
    gateway("way", { annotations, listener: { protocol: "HTTP", port: 80 } }),
    pod("way-1", { "gateway.networking.k8s.io/gateway-name": "way" }),
  );
  const { applicationTunnel } = workload(model, "Kubernetes//Pod/shop/way-1");
  assert.deepEqual(
    { ...applicationTunnel, _unknownFields: undefined },
    { protocol: 1, port: 15088, _unknownFields: undefined },
  );
});

interface BuiltModel {
  readonly model: Model;
  /** The last WaypointBound of each object that has one. */
  readonly said: Record<string, string>;
  put(object: KubeObject): void;
  remove(object: KubeObject): void;
}

function build(...objects: KubeObject[]): BuiltModel {
  const model = new Model();
  const said: Record<string, string> = {};
  const apply = (op: "put" | "removed", list: readonly KubeObject[]): void => {
    for (const { ref, conditions } of model.apply(list.map((object) => ({ op, object }))).statuses) {
      delete said[refKey(ref)];
      for (const { status, reason } of conditions) said[refKey(ref)] = `${status} ${reason}`;
    }
  };
  apply("put", objects);
  return { model, said, put: (object) => apply("put", [object]), remove: (object) => apply("removed", [object]) };
}

function waypointOf({ model }: BuiltModel, name: string): GatewayAddress["destination"] {
  const bytes = model.resources(addressTypeUrl).get(`shop/${name}.shop.svc.cluster.local`)?.bytes;
  const { type } = Address.decode(bytes!);
  assert.ok(type?.$case === "service");
  const destination = type.value.waypoint?.destination;
  return destination && (withoutUnknown(destination) as GatewayAddress["destination"]);
}

function workload({ model }: BuiltModel, uid: string): Workload {
  const { type } = Address.decode(model.resources(addressTypeUrl).get(uid)!.bytes);
  assert.ok(type?.$case === "workload");
  const { waypoint } = type.value;
  return { ...type.value, waypoint: waypoint && (withoutUnknown(waypoint) as GatewayAddress) };
}

function withoutUnknown(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Buffer.isBuffer(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, field]) => key !== "_unknownFields" && field !== undefined)
      .map(([key, field]) => [key, withoutUnknown(field)]),
  );
}

function gateway(
  name: string,
  more: { labels?: object; annotations?: object; addresses?: object[]; listener?: object | undefined } = {},
): KubeObject {
  const { labels = {}, annotations = {}, listener = {} } = more;
  const addresses = more.addresses ?? [
    { type: "IPAddress", value: "10.96.0.9" },
    { type: "Hostname", value: `${name}.shop.svc.cluster.local` },
  ];
  const listeners = [{ name: "mesh", port: 15008, protocol: "HBONE", ...listener }];
  const spec = { gatewayClassName: "class", listeners };
  return parse("gateway.networking.k8s.io/v1", "Gateway", name, spec, { labels, annotations }, { addresses });
}

function namespace(name: string, labels: object): KubeObject {
  return parse("v1", "Namespace", name, {}, { labels });
}

function service(name: string, labels: object = {}): KubeObject {
  return parse("v1", "Service", name, { ports: [{ port: 80 }] }, { labels });
}

function pod(name: string, labels: object = {}, spec: object = {}): KubeObject {
  return parse("v1", "Pod", name, spec, { labels }, { podIP: "10.0.0.1" });
}

function entry(name: string, labels: object): KubeObject {
  return parse("networking.istio.io/v1", "WorkloadEntry", name, { address: "192.0.2.1" }, { labels });
}

function parse(
  apiVersion: string,
  kind: string,
  name: string,
  spec: object,
  metadata: object,
  status = {},
): KubeObject {
  const document = { apiVersion, kind, metadata: { name, namespace: "shop", ...metadata }, spec, status };
  const parsed = parseObject(document);
  assert.ok(parsed.result === "object", JSON.stringify(parsed));
  return parsed.object;
}
