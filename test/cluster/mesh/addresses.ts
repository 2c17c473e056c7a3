/** The addresses of nodes' pods, and which of them is given next: host-local takes the one after the last it gave, if nobody has it. */
import { formatIp, parseIp } from "../../../core/base/ip.ts";
import type { ClusterNode } from "../cluster.ts";
import { until } from "../../support/until.ts";

/** The network's name in the nodes' CNI configuration. */
const folder = "/var/lib/cni/networks/pods";

/** Waits until nobody has the address; the next pod of the node gets it, and nobody else may be made there meanwhile. */
export async function giveNext(node: ClusterNode, address: string): Promise<void> {
  await until(`${address} is free on ${node.name}`, 20_000, async () => {
    const { code } = await node.nsenter(["test", "-e", `${folder}/${address}`]);
    return code === 1;
  });
  const { code, stderr } = await node.nsenter(["tee", `${folder}/last_reserved_ip.0`], { stdin: before(address) });
  if (code !== 0) throw new Error(stderr);
}

/** All that pods of these nodes can have. */
export function podAddresses(nodes: readonly ClusterNode[]): string[] {
  return nodes.flatMap(({ podRange }) => {
    const prefix = podRange.replace(/\.0\/24$/, "");
    if (prefix === podRange) throw new Error(`${podRange} is no /24`);
    return Array.from({ length: 256 }, (_, last) => `${prefix}.${last}`);
  });
}

function before(address: string): string {
  const bytes = parseIp(address);
  const last = bytes?.at(-1);
  if (bytes === undefined || last === undefined || last === 0) throw new Error(`nothing is before ${address}`);
  return formatIp(bytes.with(-1, last - 1)) ?? "";
}
