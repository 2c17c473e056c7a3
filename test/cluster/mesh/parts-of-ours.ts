/** Our own parts as they run on the cluster, and ways to end them. */
import { readFileSync } from "node:fs";
import process from "node:process";
import type { Cluster } from "../cluster.ts";
import { processesUnder } from "../host/cgroups.ts";
import { systemNamespace } from "./install.ts";
import { until } from "../../support/until.ts";

export type Component = "agent" | "cni" | "control";

interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName: string };
  readonly status: {
    readonly containerStatuses?: readonly { readonly restartCount: number; readonly ready: boolean }[];
  };
}

/** The pod of a component on a node that isn't on its way out. */
export async function podOf(cluster: Cluster, component: Component, node: string): Promise<Pod> {
  const { items } = await cluster.get<{ items: Pod[] }>([
    ...["pods", "-n", systemNamespace, "-l", `app.kubernetes.io/component=${component}`],
    ...["--field-selector", `spec.nodeName=${node}`],
  ]);
  const pod = items.find(({ metadata }) => metadata.deletionTimestamp === undefined);
  if (pod === undefined) throw new Error(`there is no ${component} on ${node}`);
  return pod;
}

/** Its process as the host numbers it. */
export async function processOf(cluster: Cluster, component: Component, node: string): Promise<number> {
  const { metadata } = await podOf(cluster, component, node);
  const processes = processesUnder(cluster.node(node).layout.cgroup, `pod${metadata.uid}`);
  const ours = processes.find((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("ambientd"));
  if (ours === undefined) throw new Error(`no process of ${metadata.name} runs`);
  return ours;
}

/** kill -9 of its process; settles when the kubelet has started it again and it is ready. */
export async function killContainer(cluster: Cluster, component: Component, node: string): Promise<void> {
  const restarts = (await podOf(cluster, component, node)).status.containerStatuses?.[0]?.restartCount ?? 0;
  process.kill(await processOf(cluster, component, node), "SIGKILL");
  await until(`${component} on ${node} is back`, 90_000, async () => {
    const now = (await podOf(cluster, component, node)).status.containerStatuses?.[0];
    return now !== undefined && now.restartCount > restarts && now.ready;
  });
}

/** Restarts all of it, pod by pod; settles when it is done. */
export async function rolledOut(cluster: Cluster, namespace: string, what: string): Promise<void> {
  await cluster.mustKubectl(["rollout", "restart", what, "-n", namespace]);
  await cluster.mustKubectl(["rollout", "status", what, "-n", namespace, "--timeout=120s"]);
}

/** The pod that holds control's Lease. */
export async function leader(cluster: Cluster): Promise<string> {
  const { items } = await cluster.get<{ items: { metadata: { name: string }; spec: { holderIdentity?: string } }[] }>([
    ...["lease", "-n", systemNamespace],
  ]);
  const holder = items.find(({ metadata }) => metadata.name.includes("control"))?.spec.holderIdentity ?? "";
  return holder.split("_")[0] ?? "";
}
