/** etcd, API server, controller manager and scheduler, on the host. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/until.ts";
import { askApi } from "./api.ts";
import { killAll, running, startPart } from "./host/processes.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { apiPort, auditLog, etcdPorts, hubAddress, logFolder, serviceRange, stateFolder } from "./layout.ts";
import * as pki from "./pki.ts";
import { tail } from "./command.ts";

const etcdUrl = `https://127.0.0.1:${etcdPorts.client}`;
const peerUrl = `http://127.0.0.1:${etcdPorts.peer}`;
const auditPolicy = join(stateFolder, "audit-policy.json");
const folder = (name: string): string => join(stateFolder, name);

/** In the order in which they need each other. */
const parts = [
  ["etcd", etcd],
  ["kube-apiserver", apiServer],
  ["kube-controller-manager", controllerManager],
  ["kube-scheduler", scheduler],
] as const;

/** Writes what they read. */
export async function prepareControlPlane(): Promise<void> {
  writeAuditPolicy();
  mkdirSync(folder("etcd"), { mode: 0o700 });
  await Promise.all([
    writeKubeconfig(folder("controller-manager.kubeconfig"), pki.controllerManager),
    writeKubeconfig(folder("scheduler.kubeconfig"), pki.scheduler),
  ]);
}

/** Starts those that do not run. Resolves when the API server answers; the others come up by themselves. */
export async function startControlPlane(env: NodeJS.ProcessEnv): Promise<void> {
  for (const [name, argv] of parts) {
    // The controllers would end without it.
    if (name === "kube-apiserver") await startApiServer(env);
    else if (running(name).length === 0) startPart(name, argv(), { env });
  }
}

/** As a crash would: no goodbye to anyone. */
export async function killApiServer(): Promise<void> {
  await killAll("kube-apiserver");
}

/** Unless it runs. Again and again if need be: for a moment the kernel may keep the port of one that was killed. */
export async function startApiServer(env: NodeJS.ProcessEnv): Promise<void> {
  let startedMs = -Infinity;
  await until("the API server is ready", 90_000, () => {
    if (running("kube-apiserver").length === 0 && performance.now() - startedMs > 1_000) {
      startPart("kube-apiserver", apiServer(), { env });
      startedMs = performance.now();
    }
    return isReady();
  });
}

export async function apiServerReady(): Promise<void> {
  await until("the API server is ready", 90_000, isReady);
}

async function isReady(): Promise<boolean> {
  if (running("kube-apiserver").length === 0)
    throw new Error(`kube-apiserver ended: ${tail(readFileSync(join(logFolder, "kube-apiserver.log"), "utf8"), 5)}`);
  return (await askApi("/readyz"))?.status === 200;
}

function etcd(): string[] {
  const { certificate, key } = pki.etcdServer;
  return [
    "etcd",
    "--name=hub",
    `--data-dir=${folder("etcd")}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=hub=${peerUrl}`,
    "--client-cert-auth",
    `--trusted-ca-file=${pki.authority.certificate}`,
    `--cert-file=${certificate}`,
    `--key-file=${key}`,
  ];
}

function apiServer(): string[] {
  const { authority, serviceAccounts } = pki;
  return [
    "kube-apiserver",
    `--advertise-address=${hubAddress}`,
    `--bind-address=${hubAddress}`,
    `--secure-port=${apiPort}`,
    `--etcd-servers=${etcdUrl}`,
    `--etcd-cafile=${authority.certificate}`,
    `--etcd-certfile=${pki.etcdServer.certificate}`,
    `--etcd-keyfile=${pki.etcdServer.key}`,
    `--client-ca-file=${authority.certificate}`,
    `--tls-cert-file=${pki.apiServer.certificate}`,
    `--tls-private-key-file=${pki.apiServer.key}`,
    `--kubelet-client-certificate=${pki.apiServerClient.certificate}`,
    `--kubelet-client-key=${pki.apiServerClient.key}`,
    // Node names don't resolve here: without it exec, logs and port-forward fail.
    "--kubelet-preferred-address-types=InternalIP",
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    `--service-account-key-file=${serviceAccounts.certificate}`,
    `--service-account-signing-key-file=${serviceAccounts.key}`,
    `--service-cluster-ip-range=${serviceRange}`,
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    // The host has no kube-proxy: webhooks are reached at their endpoints.
    "--enable-aggregator-routing=true",
    "--allow-privileged=true",
    `--audit-policy-file=${auditPolicy}`,
    `--audit-log-path=${auditLog}`,
    "--audit-log-mode=blocking-strict",
  ];
}

function controllerManager(): string[] {
  const { authority, serviceAccounts } = pki;
  return [
    "kube-controller-manager",
    `--kubeconfig=${folder("controller-manager.kubeconfig")}`,
    "--leader-elect=false",
    "--use-service-account-credentials=true",
    `--root-ca-file=${authority.certificate}`,
    `--service-account-private-key-file=${serviceAccounts.key}`,
    `--cluster-signing-cert-file=${authority.certificate}`,
    `--cluster-signing-key-file=${authority.key}`,
    "--secure-port=0",
  ];
}

function scheduler(): string[] {
  const config = folder("scheduler.kubeconfig");
  return ["kube-scheduler", `--kubeconfig=${config}`, "--leader-elect=false", "--secure-port=0"];
}

/** What components with service accounts ask, and nothing else: enough to tell which granted verbs are used. */
function writeAuditPolicy(): void {
  const policy = {
    apiVersion: "audit.k8s.io/v1",
    kind: "Policy",
    omitStages: ["RequestReceived"],
    rules: [
      { level: "None", userGroups: ["system:serviceaccounts:kube-system"] },
      { level: "Metadata", userGroups: ["system:serviceaccounts"] },
      { level: "None" },
    ],
  };
  writeFileSync(auditPolicy, JSON.stringify(policy));
}
