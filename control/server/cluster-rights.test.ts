import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test, type TestContext } from "node:test";
import { parseAllDocuments } from "yaml";
import type { Access, FakeApiServer } from "../../test/support/fake-api-server.ts";
import {
  agentToken,
  askCertificate,
  controlNamespace,
  podObject,
  startApi,
  startReplica,
  subscribeAgent,
} from "../../test/support/replicas.ts";
import { until } from "../../test/support/until.ts";

const patience = 10_000;

/** Every right control has, as the chart grants it: `verb resource`, with the names it is limited to. */
const rights: readonly string[] = [
  // What the mesh is made of.
  ...[
    "namespaces",
    "nodes",
    "pods",
    "serviceaccounts",
    "services",
    "endpointslices.discovery.k8s.io",
    "authorizationpolicies.security.istio.io",
    "peerauthentications.security.istio.io",
    "serviceentries.networking.istio.io",
    "workloadentries.networking.istio.io",
    "gateways.gateway.networking.k8s.io",
    "gatewayclasses.gateway.networking.k8s.io",
  ].flatMap((resource) => [`list ${resource}`, `watch ${resource}`]),
  // What it says of them; what others said of a custom resource is read first, so that it stays.
  "patch services/status",
  ...[
    "authorizationpolicies.security.istio.io",
    "peerauthentications.security.istio.io",
    "serviceentries.networking.istio.io",
    "workloadentries.networking.istio.io",
  ].flatMap((resource) => [`get ${resource}`, `patch ${resource.replace(".", "/status.")}`]),
  // Who calls.
  "create tokenreviews.authentication.k8s.io",
  // The root.
  "list configmaps istio-ca-root-cert",
  "watch configmaps istio-ca-root-cert",
  "patch configmaps istio-ca-root-cert",
  "create configmaps",
  `get secrets cacerts in ${controlNamespace}`,
  `get secrets istio-ca-secret in ${controlNamespace}`,
  `list secrets istio-ca-secret in ${controlNamespace}`,
  `watch secrets istio-ca-secret in ${controlNamespace}`,
  `create secrets in ${controlNamespace}`,
  // Who leads.
  `get leases.coordination.k8s.io ambientd-control in ${controlNamespace}`,
  `update leases.coordination.k8s.io ambientd-control in ${controlNamespace}`,
  `create leases.coordination.k8s.io in ${controlNamespace}`,
];

test("all that control does takes exactly these rights", async (t) => {
  const api = await startApi(t);
  await liveThrough(t, api);
  assert.deepEqual([...new Set(api.accesses.map(describe))].sort(), [...rights].sort());
});

test("the chart grants exactly these rights", () => {
  const file = new URL("../../deploy/chart/templates/control/rbac.yaml", import.meta.url);
  const yaml = readFileSync(file, "utf8")
    .replace(/^\{\{.*\}\}$/gm, "")
    .replaceAll("{{ .Release.Namespace }}", controlNamespace)
    .replace(/\{\{-.*\}\}/g, "null");
  const roles = parseAllDocuments(yaml).map((document) => document.toJS() as Role | null);
  const granted = roles.flatMap((role) => role?.rules?.flatMap((rule) => grantsOf(rule, role.kind)) ?? []);
  // A rule with several names and verbs grants more pairs than are used; each name and each verb of it is used.
  const unused = (right: string): boolean => !rights.includes(right) && !idle.includes(right);
  assert.deepEqual(granted.filter(unused), []);
  assert.deepEqual(
    rights.filter((right) => !granted.includes(right)),
    [],
  );
});

/** A plugged-in root is followed like ours. */
const idle = [`list secrets cacerts in ${controlNamespace}`, `watch secrets cacerts in ${controlNamespace}`];

interface Role {
  readonly kind: string;
  readonly rules?: readonly Rule[];
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

function grantsOf({ apiGroups, resources, resourceNames = [""], verbs }: Rule, kind: string): string[] {
  const [group = ""] = apiGroups;
  const place = kind === "Role" ? ` in ${controlNamespace}` : "";
  return verbs.flatMap((verb) =>
    resources.flatMap((resource) => {
      const name = group === "" ? resource : `${resource}.${group}`.replace(/^(\w+)\/(\w+)\./, "$1/$2.");
      return resourceNames.map((one) => `${verb} ${name}${one === "" ? "" : ` ${one}`}${place}`);
    }),
  );
}

/** Everything that control ever does to an API server. */
async function liveThrough(t: TestContext, api: FakeApiServer): Promise<void> {
  const foreign = { conditions: [{ type: "WaypointAccepted", status: "True", reason: "Accepted", message: "" }] };
  const labels = { "istio.io/use-waypoint": "nowhere" };
  const networking = "networking.istio.io/v1";
  const security = "security.istio.io/v1";
  const told: object[] = [
    object("v1", "Service", { ports: [{ port: 80 }] }, labels),
    object(networking, "ServiceEntry", { hosts: ["x.example"], ports: [], resolution: "DNS" }, labels, foreign),
    object(networking, "WorkloadEntry", { address: "192.0.2.1" }, labels, foreign),
    object(security, "AuthorizationPolicy", {}, {}, foreign),
    object(security, "PeerAuthentication", { mtls: { mode: "NONSENSE" } }, {}, foreign),
  ];
  for (const one of told) api.put(one);
  api.put(podObject("cart", "node1", "10.244.1.5"));
  api.put({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "istio-ca-root-cert", namespace: "shop" },
    data: {},
  });
  const first = await startReplica(t, api, "control-1");
  await until("it to lead", patience, () => first.plane.leads());
  const agent = subscribeAgent(t, "node1", first.endpoint(agentToken("node1")));
  await agent.session.ready;
  await askCertificate(first.endpoint(agentToken("node1")), {
    trustDomain: "cluster.local",
    namespace: "shop",
    serviceAccount: "cart",
  });
  for (const kind of ["Service", "ServiceEntry", "WorkloadEntry", "AuthorizationPolicy", "PeerAuthentication"]) {
    await until(`a ${kind} to be told`, patience, () => {
      const said = JSON.stringify(api.find(kind, "shop", "one")?.["status"] ?? {});
      const ours = /istio\.io\/WaypointBound|ZtunnelAccepted|Invalid/.test(said);
      return ours && (kind === "Service" || said.includes("WaypointAccepted"));
    });
  }
  await until("the root in all namespaces", patience, () =>
    ["shop", "kube-system"].every((namespace) =>
      JSON.stringify(api.find("ConfigMap", namespace, "istio-ca-root-cert") ?? "").includes("BEGIN"),
    ),
  );
  await first.plane.close();
}

function object(apiVersion: string, kind: string, spec: object, labels: object, status: object = {}): object {
  return { apiVersion, kind, metadata: { name: "one", namespace: "shop", labels }, spec, status };
}

/** Names and namespaces matter where rights are limited to them. */
function describe({ verb, resource, namespace, name }: Access): string {
  const isNamed = /^(configmaps|secrets|leases)/.test(resource) && verb !== "create";
  const isHome = /^(secrets|leases)/.test(resource);
  return [verb, resource, ...(isNamed ? [name] : []), ...(isHome ? ["in", namespace] : [])].join(" ");
}
