/** What the kernel and an agent itself say of that agent's process: memory, descriptors, tunnels. */
import { readdirSync, readFileSync } from "node:fs";
import type { TestLab } from "./mesh-lab.ts";
import { until } from "./until.ts";

/** One worker's tunnels in one direction. */
export interface TunnelCounts {
  /** Handshakes since the worker began. */
  readonly handshakes: number;
  /** Tunnels that stand. */
  readonly open: number;
}

export interface WorkerTunnels {
  readonly worker: number;
  readonly outbound: TunnelCounts;
  readonly inbound: TunnelCounts;
}

interface Dump {
  readonly services: readonly { readonly vips: readonly string[]; readonly endpoints: object }[];
  readonly workers: { readonly tunnels: readonly WorkerTunnels[] };
  readonly workloadState: Record<string, { readonly connections: Record<"inbound" | "outbound", readonly unknown[]> }>;
}

/** Resident memory of a node's agent in bytes, as the kernel counts it. */
export async function residentBytes(lab: TestLab, node: string): Promise<number> {
  const status = readFileSync(`${await procFolder(lab, node)}/status`, "utf8");
  const [, kilobytes = ""] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? [];
  return Number(kilobytes) * 1024;
}

export async function openDescriptors(lab: TestLab, node: string): Promise<number> {
  return readdirSync(`${await procFolder(lab, node)}/fd`).length;
}

/** Each worker's tunnels. */
export async function tunnelsOf(lab: TestLab, node: string): Promise<readonly WorkerTunnels[]> {
  return (await lab.askAgent<Dump>(node)).workers.tunnels;
}

/** Resolves when every node's agent has heard of every service: pods may be ready before anybody has told of them. */
export async function servicesKnown(lab: TestLab): Promise<void> {
  const { pods, services } = await lab.status();
  for (const node of new Set(pods.map((pod) => pod.node))) {
    await until(`the agent of ${node} knows every service`, 15_000, async () => {
      const known = (await lab.askAgent<Dump>(node)).services;
      for (const { service, vip, targets } of services) {
        const found = known.find(({ vips }) => vips.includes(`/${vip.address}`));
        const endpoints = Object.keys(found?.endpoints ?? {}).length;
        if (found === undefined || endpoints < targets.length) throw new Error(`${service} has ${endpoints} endpoints`);
      }
      return true;
    });
  }
}

/** Resolves when the agent has closed every connection; names one that it has not. */
export async function allClosed(lab: TestLab, node: string): Promise<void> {
  await until(`the agent of ${node} has closed what is over`, 15_000, async () => {
    const { workloadState } = await lab.askAgent<Dump>(node);
    const open = Object.values(workloadState).flatMap(({ connections: { inbound, outbound } }) => [
      ...inbound,
      ...outbound,
    ]);
    if (open.length > 0) throw new Error(`${open.length} are open, the first is ${JSON.stringify(open[0])}`);
    return true;
  });
}

/**
 * Descriptors that are neither the agent's own nor a pooled tunnel's: what connections that are over must have given back.
 * Asked together, because the asking takes descriptors, too.
 */
export async function descriptorsBesideTunnels(lab: TestLab, node: string): Promise<number> {
  const tunnels = await tunnelsOf(lab, node);
  const standing = tunnels.reduce((sum, { outbound, inbound }) => sum + outbound.open + inbound.open, 0);
  return (await openDescriptors(lab, node)) - standing;
}

async function procFolder(lab: TestLab, node: string): Promise<string> {
  const { processes } = await lab.status();
  const state = processes.find(({ name }) => name === `${node}.agent`)?.state;
  if (state?.phase !== "running") throw new Error(`the agent of ${node} does not run`);
  return `/proc/${lab.handle.pid}/root/proc/${state.pid}`;
}
