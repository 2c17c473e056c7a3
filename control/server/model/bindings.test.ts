import assert from "node:assert/strict";
import { test } from "node:test";
import {
  build,
  buildWith,
  entry,
  gateway,
  namespace,
  parse,
  pod,
  service,
  serviceResource,
  toWaypoint,
  waypointOf,
  workload,
} from "../../../test/support/bound-model.ts";

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

test("M01 a label asks that a service's waypoint be not passed by: its own, or the namespace's where it has a waypoint", () => {
  const required = "ambientd.io/waypoint-required";
  const marks = (label: string | undefined, ofNamespace: string | undefined, waypoint: string): string[] => {
    const model = build(
      gateway("way"),
      namespace("shop", ofNamespace === undefined ? {} : { [required]: ofNamespace }),
      service("a", { "istio.io/use-waypoint": waypoint, ...(label !== undefined && { [required]: label }) }),
    );
    return serviceResource(model, "a").extensions.map(({ name }) => name);
  };
  assert.deepEqual(marks(undefined, undefined, "way"), []);
  assert.deepEqual(marks("true", undefined, "way"), [required]);
  assert.deepEqual(marks(undefined, "true", "way"), [required]);
  assert.deepEqual(marks("false", "true", "way"), []);
  assert.deepEqual(marks(undefined, "true", "nobody"), [required], "one that cannot be had is not passed by either");
  assert.deepEqual(marks(undefined, "true", "none"), [], "who opted out has nobody to come through");
  assert.deepEqual(marks("true", undefined, "none"), [required]);
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

test("M07 F-041 a waypoint that does not exist is no reference: connections go without it, and the object says so", () => {
  const model = build(service("lost", { "istio.io/use-waypoint": "nobody" }));
  assert.equal(waypointOf(model, "lost"), undefined);
  assert.equal(model.said["Service/shop/lost"], "False WaypointIsNotReady");
  assert.match(model.messages["Service/shop/lost"] ?? "", /shop\/nobody does not exist.*go without a waypoint/);
});

test("F-041 where the mesh wants it, a waypoint that cannot be had is one that nobody resolves, and the object says so", () => {
  const objects = [
    gateway("way", { labels: { "istio.io/waypoint-for": "workload" } }),
    service("lost", { "istio.io/use-waypoint": "nobody" }),
    service("nobody"),
    service("wrong", { "istio.io/use-waypoint": "way" }),
    service("free"),
    pod("asks", { "istio.io/use-waypoint": "nobody" }),
  ];
  const model = buildWith({ danglingWaypoints: "refuse" }, ...objects);
  assert.deepEqual(waypointOf(model, "lost"), {
    $case: "hostname",
    value: { namespace: "shop", hostname: "nobody.shop.waypoint.invalid" },
  });
  assert.deepEqual(waypointOf(model, "wrong"), {
    $case: "hostname",
    value: { namespace: "shop", hostname: "way.shop.waypoint.invalid" },
  });
  assert.equal(waypointOf(model, "free"), undefined);
  assert.equal(workload(model, "Kubernetes//Pod/shop/asks").waypoint?.hboneMtlsPort, 15008);
  assert.match(model.messages["Service/shop/lost"] ?? "", /agents refuse connections/);
  model.put(gateway("nobody"));
  assert.deepEqual(waypointOf(model, "lost"), {
    $case: "hostname",
    value: { namespace: "shop", hostname: "nobody.shop.svc.cluster.local" },
  });
});
