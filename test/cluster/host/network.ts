/** The host's part of the network: a bridge that holds the API server's address, and a link to each node. */
import { existsSync } from "node:fs";
import { deleteLink } from "../../../core/linux/netlink/links.ts";
import { mustRun } from "../command.ts";
import { bridge, hubAddress, hubPrefix, nodeLayouts, type NodeLayout } from "../layout.ts";

export async function createHub(env: NodeJS.ProcessEnv): Promise<void> {
  await batch(env, [
    `link add name ${bridge} type bridge`,
    // Forwarding at once: without it a new port learns for 15 s.
    `link set ${bridge} type bridge stp_state 0 forward_delay 0`,
    `addr add ${hubAddress}/${hubPrefix} dev ${bridge}`,
    `link set ${bridge} up`,
    ...nodeLayouts.map(({ podRange, address }) => `route add ${podRange} via ${address}`),
  ]);
}

/** @param pid a process in the node's network namespace. */
export async function connectNode(node: NodeLayout, pid: number, env: NodeJS.ProcessEnv): Promise<void> {
  await removeLink(node.linkInterface);
  await batch(env, [
    `link add name ${node.linkInterface} type veth peer name eth0 netns ${pid}`,
    `link set ${node.linkInterface} master ${bridge} up`,
  ]);
  const others = nodeLayouts.filter(({ name }) => name !== node.name);
  const inside = [
    "link set lo up",
    `addr add ${node.address}/${hubPrefix} dev eth0`,
    "link set eth0 up",
    `route add default via ${hubAddress}`,
    ...others.map(({ podRange, address }) => `route add ${podRange} via ${address}`),
  ];
  await batch(env, inside, pid);
  const settings = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
  };
  const script = Object.entries(settings).map(
    ([key, value]) => `[ ! -e /proc/sys/net/${key} ] || echo ${value} > /proc/sys/net/${key}`,
  );
  await mustRun(["nsenter", "-t", String(pid), "-n", "sh", "-ec", script.join("\n")], { env });
}

export async function removeNetwork(): Promise<void> {
  for (const { linkInterface } of nodeLayouts) await removeLink(linkInterface);
  await removeLink(bridge);
}

/** Not by `ip`: taking down must work where the parts are gone. */
async function removeLink(name: string): Promise<void> {
  if (!existsSync(`/sys/class/net/${name}`)) return;
  const failed = await deleteLink(name);
  // A namespace that dies takes its links along.
  if (failed !== undefined && existsSync(`/sys/class/net/${name}`)) throw failed;
}

async function batch(env: NodeJS.ProcessEnv, commands: readonly string[], pid?: number): Promise<void> {
  const inside = pid === undefined ? [] : ["nsenter", "-t", String(pid), "-n"];
  await mustRun([...inside, "ip", "-batch", "-"], { env, stdin: `${commands.join("\n")}\n` });
}
