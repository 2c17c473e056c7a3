/** Says as one JSON line what a mesh has put into the network namespace that this runs in; empty lists where there is nothing. */
import { podRules, ports } from "../../../cni/daemon/rules.ts";
import { LinuxError } from "../../../core/linux/errno.ts";
import { listRoutes } from "../../../core/linux/netlink/routes.ts";
import { listRules } from "../../../core/linux/netlink/rules.ts";
import { readBack } from "../../../core/linux/nftables/read-back.ts";
import { tcpSockets } from "../../../core/linux/procfs.ts";

/** The answer. */
export interface TracesOfMesh {
  /** `table chain`, of every chain that holds a rule or hooks into the kernel. */
  readonly chains: readonly string[];
  readonly rules: readonly string[];
  readonly routes: readonly string[];
  /** Ports of the agent's that somebody listens on. */
  readonly listeners: readonly number[];
}

const agentPorts: ReadonlySet<number> = new Set(Object.values(ports));

async function look(): Promise<TracesOfMesh> {
  const tables = podRules({ dnsCapture: true, ipv6: true });
  return {
    chains: tables.flatMap(({ family, name }) =>
      (known(readBack(undefined, family, name))?.chains ?? []).map((chain) => `${name} ${chain.name}`),
    ),
    rules: known(await listRules()).map(({ family, priority, mark }) => `${family} ${priority} 0x${mark.toString(16)}`),
    routes: known(await listRoutes({ table: 100 })).map(({ family, type }) => `${family} ${type}`),
    listeners: tcpSockets()
      .filter(({ local, state }) => state === "listen" && agentPorts.has(local.port))
      .map(({ local }) => local.port),
  };
}

function known<T>(value: T | LinuxError): T {
  if (value instanceof LinuxError) throw value;
  return value;
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await look())}\n`);
