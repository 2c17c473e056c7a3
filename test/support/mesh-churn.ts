/** Random changes to a world so small that its objects meet. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { isClusterScoped, parseObject } from "../../control/sources/object-parsers.ts";
import type { Kind, KubeObject } from "../../control/sources/objects.ts";
import type { ObjectDelta } from "../../control/sources/source.ts";

export interface Document {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly uid: string };
}

/** Of pods: two that may follow each other under one name. */
const uids = ["uid-1-Pod", "uid-2-Pod"];

/** A change. What is removed may never have been there, or have had other fields. */
export function arbitraryStep(): fc.Arbitrary<ObjectDelta> {
  return fc.record({ op: fc.constantFrom("put", "put", "removed"), object: arbitraryDocument().map(parsed) });
}

/** Any object, as a manifest would hold it. */
export function arbitraryDocument(): fc.Arbitrary<Document> {
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
    fc.record({
      app: fc.constant("a"),
      "istio.io/use-waypoint": fc.constantFrom("x", "y"),
      "istio.io/use-waypoint-canary": fc.constantFrom("x", "y"),
    }),
    fc.record({ app: fc.constant("a"), "gateway.networking.k8s.io/gateway-name": name }),
  );
  const annotations = fc.constantFrom<Record<string, string>>(
    {},
    { "ambient.istio.io/redirection": "enabled" },
    { "networking.istio.io/traffic-distribution": "PreferClose" },
    { "istio.io/use-waypoint-canary-weight": "30", "istio.io/for-service-account": "x" },
  );
  const network = fc.constantFrom("", "west");
  const uid = fc.constantFrom(...uids.map((one) => one.replace("-Pod", "")));
  const created = fc.constantFrom("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
  const mode = fc.constantFrom("UNSET", "DISABLE", "PERMISSIVE", "STRICT");
  const host = fc.constantFrom("a.example", "b.example", "x.shop.svc.cluster.local");
  const specs: [apiVersion: string, kind: string, body: fc.Arbitrary<object>][] = [
    ["v1", "Namespace", fc.constant({})],
    ["v1", "Node", fc.constant({})],
    ["v1", "ServiceAccount", fc.constant({})],
    [
      "v1",
      "Pod",
      fc.record({
        spec: fc.record({
          nodeName: name,
          serviceAccountName: name,
          hostNetwork: fc.boolean(),
          containers: fc.constantFrom([], [{ name: "c", ports: [{ name: "web", containerPort: 8080 }] }]),
        }),
        status: fc.record({
          podIP: fc.constantFrom("10.0.0.1", "10.0.0.2", ""),
          phase: fc.constantFrom("Pending", "Running", "Failed"),
          conditions: fc.constantFrom([], [{ type: "Ready", status: "True" }]),
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
          clusterIP: fc.constantFrom("10.96.0.1", "None", ""),
          internalTrafficPolicy: fc.constantFrom("Cluster", "Local"),
          publishNotReadyAddresses: fc.boolean(),
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
          [],
          [{ addresses: ["192.0.2.1"] }],
          [{ addresses: ["192.0.2.1"] }, { addresses: ["192.0.2.2"], conditions: { ready: false } }],
          ...uids.map((uid) => [{ addresses: ["10.0.0.1"], targetRef: { kind: "Pod", name: "x", uid } }]),
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
  return fc
    .oneof(...specs.map(([apiVersion, kind, body]) => body.map((fields) => ({ apiVersion, kind, fields }))))
    .chain(({ apiVersion, kind, fields }) =>
      fc.record({ name, namespace, labels: waypointLabels, annotations, uid, created, network }).map((meta) => {
        const isGateway = kind === "Gateway" || kind === "GatewayClass";
        const extra = {
          ...(isGateway && { "istio.io/waypoint-for": meta.labels["app"] === "a" ? "all" : "service" }),
          ...(kind === "EndpointSlice" && { "kubernetes.io/service-name": meta.name }),
          ...(kind === "Node" && { "topology.kubernetes.io/zone": meta.created }),
          ...(kind === "Namespace" && { "topology.istio.io/network": meta.network }),
        };
        const metadata = {
          name: kind === "Namespace" ? meta.namespace : meta.name,
          ...(isClusterScoped(kind as Kind) ? {} : { namespace: meta.namespace }),
          uid: `${meta.uid}-${kind}`,
          creationTimestamp: meta.created,
          labels: { ...meta.labels, ...extra },
          annotations: meta.annotations,
        };
        return { apiVersion, kind, metadata, ...fields };
      }),
    );
}

/** A document as the typed view that everything works on. */
export function parsed(document: object): KubeObject {
  const result = parseObject(document);
  assert.ok(result.result === "object", JSON.stringify(result));
  return result.object;
}
