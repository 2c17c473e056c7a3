/** What each part may do, written out: a chart that asks for more, anywhere, fails here until the list is changed too. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { containerOf, helm, one, podOf, render, type Rendered } from "./helm.ts";

const skip = typeof helm === "string" ? false : helm.missing;

const unprivileged = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  runAsUser: 65532,
  runAsGroup: 65532,
  seccompProfile: { type: "RuntimeDefault" },
};
const rootWith = (...add: string[]): object => ({
  capabilities: { drop: ["ALL"], add },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: false,
  runAsUser: 0,
  runAsGroup: 0,
  seccompProfile: { type: "RuntimeDefault" },
});

/** All that a pod may have that another could not have. */
const parts = [
  {
    kind: "Deployment",
    name: "ambientd-control",
    security: unprivileged,
    podSecurity: {
      runAsNonRoot: true,
      runAsUser: 65532,
      runAsGroup: 65532,
      fsGroup: 65532,
      seccompProfile: { type: "RuntimeDefault" },
    },
    apiToken: true,
    priority: "system-cluster-critical",
    ports: [15012, 8080],
    volumes: [],
    mounts: [],
  },
  {
    kind: "DaemonSet",
    name: "ambientd-agent",
    security: rootWith("NET_RAW", "SYS_ADMIN"),
    podSecurity: undefined,
    apiToken: false,
    priority: "system-node-critical",
    ports: [15008, 15020, 15021],
    volumes: [
      { name: "zds", hostPath: { path: "/var/run/ambientd/zds", type: "DirectoryOrCreate" } },
      { name: "root", configMap: { name: "istio-ca-root-cert" } },
      {
        name: "token",
        projected: {
          defaultMode: 0o400,
          sources: [{ serviceAccountToken: { path: "istio-token", audience: "istio-ca", expirationSeconds: 43200 } }],
        },
      },
    ],
    mounts: [
      "zds at /var/run/ambientd/zds, read-only",
      "root at /var/run/secrets/istio, read-only",
      "token at /var/run/secrets/tokens, read-only",
    ],
  },
  {
    kind: "DaemonSet",
    name: "ambientd-cni",
    security: rootWith("DAC_OVERRIDE", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"),
    podSecurity: { appArmorProfile: { type: "Unconfined" } },
    apiToken: true,
    priority: "system-node-critical",
    ports: [8000],
    volumes: [
      { name: "cni-bin", hostPath: { path: "/opt/cni/bin", type: "DirectoryOrCreate" } },
      { name: "cni-conf", hostPath: { path: "/etc/cni/net.d", type: "DirectoryOrCreate" } },
      { name: "proc", hostPath: { path: "/proc", type: "Directory" } },
      { name: "netns", hostPath: { path: "/var/run/netns", type: "DirectoryOrCreate" } },
      { name: "run", hostPath: { path: "/var/run/ambientd/cni", type: "DirectoryOrCreate" } },
      { name: "zds", hostPath: { path: "/var/run/ambientd/zds", type: "DirectoryOrCreate" } },
    ],
    mounts: [
      "cni-bin at /host/opt/cni/bin",
      "cni-conf at /host/etc/cni/net.d",
      "proc at /host/proc, read-only",
      "netns at /host/var/run/netns, HostToContainer",
      "run at /var/run/ambientd/cni",
      "zds at /var/run/ambientd/zds",
    ],
  },
  {
    kind: "Job",
    name: "ambientd-release",
    security: unprivileged,
    podSecurity: undefined,
    apiToken: true,
    priority: undefined,
    ports: [],
    volumes: [],
    mounts: [],
  },
] as const;

for (const part of parts) {
  test(`${part.name} has these privileges and no other`, { skip }, async () => {
    const object = one(await render(), part.kind, part.name);
    const pod = podOf(object);
    const container = containerOf(object);
    assert.deepEqual(container.securityContext, part.security);
    assert.deepEqual(pod.securityContext, part.podSecurity);
    assert.equal(pod.serviceAccountName, part.name);
    assert.equal(pod.automountServiceAccountToken, part.apiToken);
    assert.equal(pod.priorityClassName, part.priority);
    assert.deepEqual(pod.volumes ?? [], part.volumes);
    const mounts = (container.volumeMounts ?? []).map(({ name, mountPath, readOnly, mountPropagation }) =>
      [
        `${name} at ${mountPath}`,
        ...(readOnly ? ["read-only"] : []),
        ...(mountPropagation ? [mountPropagation] : []),
      ].join(", "),
    );
    assert.deepEqual(mounts, part.mounts);
    assert.deepEqual(
      (container.ports ?? []).map(({ containerPort }) => containerPort),
      part.ports,
    );
    assert.ok((container.ports ?? []).every(({ hostPort }) => hostPort === undefined));
    assert.equal(pod.initContainers, undefined);
    for (const shared of [pod.hostNetwork, pod.hostPID, pod.hostIPC, pod.shareProcessNamespace]) {
      assert.ok(shared === undefined || !shared);
    }
    assert.match(container.resources.limits?.memory ?? "", /^\d+[MG]i$/);
  });
}

test("there are no pods but those", { skip }, async () => {
  const makers = (await render()).filter(({ spec }) => spec?.template !== undefined);
  assert.deepEqual(
    makers.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort(),
    parts.map(({ kind, name }) => `${kind} ${name}`).sort(),
  );
});

test("nodes with an old kernel cost one capability more", { skip }, async () => {
  const agent = one(await render("agent.oldKernel=true"), "DaemonSet", "ambientd-agent");
  assert.deepEqual(containerOf(agent).securityContext, rootWith("NET_ADMIN", "NET_RAW", "SYS_ADMIN"));
});

test("so does the capture of queries: only NET_ADMIN is told whom one was for", { skip }, async () => {
  const agent = one(await render("cni.dnsCapture=true"), "DaemonSet", "ambientd-agent");
  assert.deepEqual(containerOf(agent).securityContext, rootWith("NET_ADMIN", "NET_RAW", "SYS_ADMIN"));
});

test("no service account gives its token to a pod that doesn't ask for it", { skip }, async () => {
  const accounts = (await render()).filter(({ kind }) => kind === "ServiceAccount");
  assert.equal(accounts.length, 4);
  for (const { automountServiceAccountToken } of accounts) assert.equal(automountServiceAccountToken, false);
});

/** `verb resource.group[name]`; a Role's with its namespace in front. */
const granted = {
  "ambientd-control": [
    "ambient-system: create leases.coordination.k8s.io",
    "ambient-system: create secrets",
    "ambient-system: get leases.coordination.k8s.io[ambientd-control]",
    "ambient-system: get secrets[cacerts]",
    "ambient-system: get secrets[istio-ca-secret]",
    "ambient-system: list secrets[cacerts]",
    "ambient-system: list secrets[istio-ca-secret]",
    "ambient-system: update leases.coordination.k8s.io[ambientd-control]",
    "ambient-system: watch secrets[cacerts]",
    "ambient-system: watch secrets[istio-ca-secret]",
    "create configmaps",
    "create tokenreviews.authentication.k8s.io",
    "get authorizationpolicies.security.istio.io",
    "get peerauthentications.security.istio.io",
    "get serviceentries.networking.istio.io",
    "get workloadentries.networking.istio.io",
    "list authorizationpolicies.security.istio.io",
    "list configmaps[istio-ca-root-cert]",
    "list endpointslices.discovery.k8s.io",
    "list gatewayclasses.gateway.networking.k8s.io",
    "list gateways.gateway.networking.k8s.io",
    "list namespaces",
    "list nodes",
    "list peerauthentications.security.istio.io",
    "list pods",
    "list serviceaccounts",
    "list serviceentries.networking.istio.io",
    "list services",
    "list workloadentries.networking.istio.io",
    "patch authorizationpolicies/status.security.istio.io",
    "patch configmaps[istio-ca-root-cert]",
    "patch peerauthentications/status.security.istio.io",
    "patch serviceentries/status.networking.istio.io",
    "patch services/status",
    "patch workloadentries/status.networking.istio.io",
    "watch authorizationpolicies.security.istio.io",
    "watch configmaps[istio-ca-root-cert]",
    "watch endpointslices.discovery.k8s.io",
    "watch gatewayclasses.gateway.networking.k8s.io",
    "watch gateways.gateway.networking.k8s.io",
    "watch namespaces",
    "watch nodes",
    "watch peerauthentications.security.istio.io",
    "watch pods",
    "watch serviceaccounts",
    "watch serviceentries.networking.istio.io",
    "watch services",
    "watch workloadentries.networking.istio.io",
  ],
  // Its token is for control alone.
  "ambientd-agent": [],
  "ambientd-cni": [
    "ambient-system: get daemonsets.apps[ambientd-cni]",
    "ambient-system: list daemonsets.apps[ambientd-cni]",
    "ambient-system: watch daemonsets.apps[ambientd-cni]",
    "create events.events.k8s.io",
    "get namespaces",
    "get pods",
    "list namespaces",
    "list pods",
    "patch pods/status",
    "watch namespaces",
    "watch pods",
  ],
  "ambientd-release": [
    "ambient-system: delete leases.coordination.k8s.io[ambientd-control]",
    "ambient-system: delete secrets[istio-ca-secret]",
    "ambient-system: get secrets[istio-ca-secret]",
    "ambient-system: patch daemonsets.apps[ambientd-cni]",
    "ambient-system: patch deployments/scale.apps[ambientd-control]",
    "delete configmaps[istio-ca-root-cert]",
    "list authorizationpolicies.security.istio.io",
    "list namespaces",
    "list peerauthentications.security.istio.io",
    "list pods",
    "list serviceentries.networking.istio.io",
    "list services",
    "list workloadentries.networking.istio.io",
    "patch authorizationpolicies/status.security.istio.io",
    "patch peerauthentications/status.security.istio.io",
    "patch serviceentries/status.networking.istio.io",
    "patch services/status",
    "patch workloadentries/status.networking.istio.io",
  ],
} as const;

test("each service account may do this with the API and nothing else", { skip }, async () => {
  const objects = await render();
  for (const [account, expected] of Object.entries(granted)) {
    assert.deepEqual(grantsOf(objects, account), expected, account);
  }
  const bound = objects.flatMap(({ subjects }) => subjects ?? []).map(({ name }) => name);
  assert.deepEqual(
    bound.filter((name) => !(name in granted)),
    [],
  );
});

test("no rule has a wildcard", { skip }, async () => {
  for (const { metadata, rules = [] } of await render()) {
    const words = rules.flatMap(({ apiGroups, resources, verbs }) => [...apiGroups, ...resources, ...verbs]);
    assert.ok(!words.includes("*"), metadata.name);
  }
});

test("a root that is to be kept can't be deleted by the release", { skip }, async () => {
  const kept = grantsOf(await render("uninstall.keepRoot=true"), "ambientd-release");
  assert.ok(!kept.some((grant) => grant.includes("secrets")));
});

test("everything the release needs is a hook that goes with it", { skip }, async () => {
  const objects = (await render()).filter(({ metadata }) => metadata.name === "ambientd-release");
  assert.deepEqual(objects.map(({ kind }) => kind).sort(), [
    "ClusterRole",
    "ClusterRoleBinding",
    "Job",
    "Role",
    "RoleBinding",
    "ServiceAccount",
  ]);
  for (const { kind, metadata } of objects) {
    assert.deepEqual(metadata.annotations, {
      "helm.sh/hook": "pre-delete",
      "helm.sh/hook-weight": kind === "Job" ? "0" : "-5",
      "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    });
  }
});

function grantsOf(objects: readonly Rendered[], account: string): string[] {
  return objects
    .filter(
      ({ kind, subjects = [] }) =>
        /^(Cluster)?RoleBinding$/.test(kind) && subjects.some(({ name }) => name === account),
    )
    .flatMap(({ roleRef }) => {
      const role = one(objects, roleRef?.kind ?? "", roleRef?.name ?? "");
      const where = role.kind === "Role" ? `${role.metadata.namespace ?? ""}: ` : "";
      return (role.rules ?? []).flatMap(({ apiGroups, resources, resourceNames, verbs }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((resource) =>
            (resourceNames ?? [""]).flatMap((name) =>
              verbs.map(
                (verb) =>
                  `${where}${verb} ${resource}${group === "" ? "" : `.${group}`}${name === "" ? "" : `[${name}]`}`,
              ),
            ),
          ),
        ),
      );
    })
    .sort();
}
