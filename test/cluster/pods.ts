/** Pods from the host's point of view. */
import { readFileSync } from "node:fs";
import type { ClusterNode } from "./cluster-node.ts";
import { processesUnder } from "./host/cgroups.ts";

export interface PodProcess {
  /** As the host numbers it. */
  readonly pid: number;
  /** The path of its network namespace on the host; all of a pod's containers are in it. */
  readonly netns: string;
}

/** Any process of the pod that lives, found by its cgroup. @throws when the pod has none (not yet, or no longer). */
export function podProcess(node: ClusterNode, uid: string): PodProcess {
  const pid = processesUnder(node.layout.cgroup, `pod${uid}`).find(alive);
  if (pid === undefined) throw new Error(`no process of the pod ${uid} lives on ${node.name}`);
  return { pid, netns: `/proc/${pid}/ns/net` };
}

function alive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
