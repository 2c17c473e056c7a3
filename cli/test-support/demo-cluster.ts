/** A small cluster with ambientd in it, as an API server describes it: two nodes, one namespace in the mesh. */
import type { ApiNode, ApiPod } from "../clients/api-objects.ts";
import type { ConfigDump, DumpedWorkload } from "../clients/agent.ts";
import { list, type Asked, type Said } from "./scripted-api.ts";

export interface Demo {
  nodes: ApiNode[];
  pods: ApiPod[];
  namespaces: { metadata: { name: string; labels: Record<string, string | null> } }[];
  events: object[];
  daemonSets: object[];
  /** By node. */
  dumps: Record<string, ConfigDump>;
}

export function demo(): Demo {
  const pods = [
    ourPod("control", "control-1", "node1"),
    ...["node1", "node2"].flatMap((node) => [
      ourPod("agent", `agent-${node}`, node),
      ourPod("cni", `cni-${node}`, node),
    ]),
    appPod("client-1", "node1", "captured"),
    appPod("server-1", "node2", "captured"),
  ];
  const workloads = [workload("client-1", "10.0.1.2", "node1"), workload("server-1", "10.0.2.2", "node2")];
  return {
    nodes: [node("node1"), node("node2")],
    pods,
    namespaces: [
      { metadata: { name: "shop", labels: { "istio.io/dataplane-mode": "ambient" } } },
      { metadata: { name: "outside", labels: {} } },
    ],
    events: [],
    daemonSets: [],
    dumps: { node1: dump(workloads, ["client-1"]), node2: dump(workloads, ["server-1"]) },
  };
}

export function node(name: string, operatingSystem = "linux", architecture = "amd64"): ApiNode {
  return {
    metadata: { name },
    status: {
      conditions: [{ type: "Ready", status: "True" }],
      nodeInfo: { operatingSystem, architecture, kubeletVersion: "v1.36.3" },
    },
  };
}

export function ourPod(component: string, name: string, on: string, image = "registry.test/ambientd:0.1.0"): ApiPod {
  return {
    metadata: {
      name,
      namespace: "ambient-system",
      uid: name,
      labels: { "app.kubernetes.io/name": "ambientd", "app.kubernetes.io/component": component },
    },
    spec: { nodeName: on, containers: [{ name: component, image }] },
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: [
        { name: component, image, imageID: `registry.test/ambientd@sha256:${"a".repeat(64)}`, ready: true },
      ],
    },
  };
}

export function appPod(
  name: string,
  on: string,
  state: "captured" | "pending",
  more: Partial<ApiPod["spec"]> = {},
): ApiPod {
  return {
    metadata: {
      name,
      namespace: "shop",
      uid: name,
      labels: {},
      annotations: state === "captured" ? { "ambient.istio.io/redirection": "enabled" } : {},
    },
    spec: { nodeName: on, serviceAccountName: "app", containers: [{ name: "app" }], ...more },
    status: { phase: "Running", podIP: "10.0.1.2", conditions: [{ type: "Ready", status: "True" }] },
  };
}

export function workload(name: string, address: string, on: string): DumpedWorkload {
  return {
    uid: `Kubernetes//Pod/shop/${name}`,
    name,
    namespace: "shop",
    workloadIps: [address],
    protocol: "HBONE",
    node: on,
    serviceAccount: "app",
    trustDomain: "cluster.local",
    status: "Healthy",
    services: [],
    authorizationPolicies: [],
  };
}

function dump(workloads: readonly DumpedWorkload[], local: readonly string[]): ConfigDump {
  return {
    workloads,
    certificates: [
      {
        identity: "spiffe://cluster.local/ns/shop/sa/app",
        state: "Available",
        certChain: [
          { serialNumber: "17", validFrom: "2026-01-01T00:00:00.000Z", expirationTime: "2096-01-01T00:00:00.000Z" },
        ],
      },
    ],
    workloadState: Object.fromEntries(local.map((uid) => [uid, { state: "Up" }])),
    xds: { phase: "live" },
    version: { version: "0.1.0" },
  };
}

/** What the API server says of it. */
export function answers(demo: Demo): (asked: Asked) => Said | undefined {
  return ({ method, path, query, body }) => {
    const selector = query.get("labelSelector") ?? "";
    if (path === "/version") return { body: { gitVersion: "v1.36.3" } };
    if (path.endsWith("/selfsubjectaccessreviews"))
      return { status: 201, body: { ...(body as object), status: { allowed: true } } };
    if (path === "/api/v1/nodes") return list(demo.nodes);
    if (path === "/api/v1/namespaces") return list(demo.namespaces);
    if (path === "/apis/apps/v1/daemonsets") return list(demo.daemonSets);
    if (path.endsWith("/events")) return list(demo.events);
    const [, namespace, rest] = /^\/api\/v1\/(?:namespaces\/([^/]+)\/)?(pods)$/.exec(path) ?? [];
    if (rest === "pods") return list(demo.pods.filter((pod) => isIn(pod, namespace) && fits(pod, selector)));
    const [, named] = /^\/api\/v1\/namespaces\/([^/]+)$/.exec(path) ?? [];
    const found = demo.namespaces.find(({ metadata }) => metadata.name === named);
    if (found === undefined) return undefined;
    if (method === "PATCH") {
      const { metadata } = body as { metadata: { labels: Record<string, string | null> } };
      for (const [key, value] of Object.entries(metadata.labels)) {
        if (value === null) delete found.metadata.labels[key];
        else found.metadata.labels[key] = value;
      }
    }
    return { body: found };
  };
}

function isIn(pod: ApiPod, namespace: string | undefined): boolean {
  return namespace === undefined || pod.metadata.namespace === namespace;
}

/** `a=b` and `a in (b,c)`. */
function fits({ metadata }: ApiPod, selector: string): boolean {
  return [...selector.matchAll(/([\w./-]+)(?:=([\w.-]+)| in \(([^)]*)\))/g)].every(([, key = "", value, values]) =>
    (values?.split(",") ?? [value]).includes(metadata.labels?.[key]),
  );
}
