/** `ambientctl` as a user runs it: its own process, with the cluster's kubeconfig, and helm on PATH. */
import { join } from "node:path";
import process from "node:process";
import type { Cluster, Finished } from "../cluster.ts";

export function ambientctl(cluster: Cluster, ...args: readonly string[]): Promise<Finished> {
  return cluster.command([process.execPath, program, ...args]);
}

const program = join(import.meta.dirname, "../../../bin/ambientctl.js");
