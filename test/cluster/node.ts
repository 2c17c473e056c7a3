/** A node: one process that has mounts, network and process ids of its own, in which containerd, kubelet and kube-proxy run. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../support/until.ts";
import { mustRun, tail } from "./command.ts";
import { createCgroup, removeCgroup } from "./host/cgroups.ts";
import { connectNode } from "./host/network.ts";
import { killAll, running, startPart } from "./host/processes.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { logFolder, type NodeLayout } from "./layout.ts";
import {
  cniConfiguration,
  containerdConfiguration,
  kubeletConfiguration,
  proxyConfiguration,
} from "./node-configuration.ts";
import * as pki from "./pki.ts";
import type { Parts } from "./parts/parts.ts";

/** Writes what is on the node's disk before its first start. */
export async function prepareNode(node: NodeLayout, parts: Parts): Promise<void> {
  const etc = join(node.folder, "etc");
  for (const name of ["kubernetes", "containerd", "cni/net.d"]) mkdirSync(join(etc, name), { recursive: true });
  for (const name of ["etc.work", "opt/cni", "opt.work", "var", "var.work", "containerd", "kubelet", "log"])
    mkdirSync(join(node.folder, name), { recursive: true });
  // As the plugins' own image would: they lie where kubelets and installers look by default.
  cpSync(parts.cniPlugins, join(node.folder, "opt/cni/bin"), { recursive: true });
  writeFileSync(join(etc, "containerd/config.toml"), containerdConfiguration());
  writeFileSync(join(etc, "cni/net.d/10-bridge.conflist"), cniConfiguration(node));
  writeFileSync(join(etc, "kubernetes/kubelet.json"), kubeletConfiguration(node));
  writeFileSync(join(etc, "kubernetes/kube-proxy.json"), proxyConfiguration(node));
  cpSync(pki.authority.certificate, join(etc, "kubernetes/ca.crt"));
  await Promise.all([
    writeKubeconfig(join(etc, "kubernetes/kubelet.kubeconfig"), pki.kubelet(node.name)),
    writeKubeconfig(join(etc, "kubernetes/kube-proxy.kubeconfig"), pki.proxy),
  ]);
}

/** Starts it and resolves when its containerd answers; kubelet and kube-proxy come up by themselves. */
export async function startNode(node: NodeLayout, env: NodeJS.ProcessEnv): Promise<void> {
  createCgroup(node.cgroup);
  const namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"];
  const argv = [
    "unshare",
    ...namespaces,
    "sh",
    "-eu",
    join(import.meta.dirname, "node-init.sh"),
    node.name,
    node.folder,
    node.address,
  ];
  const { input } = startPart(node.name, argv, { env, openInput: true });
  const pid = await until(`${node.name} has an init process`, 10_000, () => initOf(node));
  await connectNode(node, pid, env);
  // It waits for this line: connected, it starts what a node runs.
  input?.end("connected\n");
  const log = join(logFolder, `${node.name}.log`);
  await until(`containerd of ${node.name} answers`, 30_000, async () => {
    if (initOf(node) === undefined) throw new Error(`${node.name} ended: ${tail(readFileSync(log, "utf8"), 5)}`);
    return (await inNode(node, ["test", "-e", "/run/node-started"], env)) !== undefined;
  });
}

/** Pulls the plug: every process of the node ends at once, and with them its namespaces. What is on its disk stays. */
export async function stopNode(node: NodeLayout): Promise<void> {
  await killAll(node.name);
  await removeCgroup(node.cgroup);
}

/** The node's init process as the host numbers it, or undefined when the node is off. */
export function initOf(node: NodeLayout): number | undefined {
  return running(node.name).find(({ isInit }) => isInit)?.pid;
}

/** The command that runs another in all of a node's namespaces. */
export function enter(node: NodeLayout): string[] {
  const pid = initOf(node);
  if (pid === undefined) throw new Error(`${node.name} is off`);
  return ["nsenter", "-t", String(pid), "--mount", "--net", "--pid"];
}

/** Gives the image of an archive (OCI or Docker, uncompressed tar) to the node's containerd. */
export async function loadImage(node: NodeLayout, file: string, env: NodeJS.ProcessEnv): Promise<void> {
  const argv = [...enter(node), "ctr", "-n", "k8s.io", "images", "import", "-"];
  await mustRun(argv, { env, stdin: { file } });
}

/** Frees the node's disk. */
export function wipeNode(node: NodeLayout): void {
  rmSync(node.folder, { recursive: true, force: true });
}

async function inNode(node: NodeLayout, argv: readonly string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return mustRun([...enter(node), ...argv], { env }).catch(() => undefined);
}
