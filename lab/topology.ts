/**
 * The wires of the lab, routed and never bridged: PID 1's namespace is the router, each node hangs on it by a link of its
 * own, each pod on its node by a veth whose node end has no address.
 *
 *     pod eth0 ── vethXXXXXXXX node eth0 ── link1 router link2 ── eth0 node …
 */
import { hasIpv6, writeSysctl } from "../core/linux/procfs.ts";
import type { LinuxError } from "../core/linux/errno.ts";
import { addAddress } from "../core/linux/netlink/addresses.ts";
import { createVeth, deleteLink, settleLink, setUp } from "../core/linux/netlink/links.ts";
import { addRoute } from "../core/linux/netlink/routes.ts";
import type { NodePlan } from "./addresses.ts";

/** Where the ends of a node's link are. Both are the same pair of interfaces unless a wire sits between them. */
export interface LinkEnds {
  /** In the router's namespace. */
  readonly router: string;
  /** In the node's namespace. */
  readonly node: string;
}

/** Makes a fresh namespace usable: loopback up, forwarding on, no waiting for duplicate addresses. */
export async function prepareNamespace(netns?: number): Promise<void> {
  check(writeSysctl("net/ipv4/ip_forward", 1, netns));
  // Asymmetric paths are the rule here: connections arrive from addresses that are spoofed on purpose.
  for (const which of ["all", "default"]) check(writeSysctl(`net/ipv4/conf/${which}/rp_filter`, 0, netns));
  if (hasIpv6(netns)) {
    check(writeSysctl("net/ipv6/conf/all/forwarding", 1, netns));
    for (const which of ["all", "default"]) check(writeSysctl(`net/ipv6/conf/${which}/accept_dad`, 0, netns));
  }
  check(await setUp("lo", inNetns(netns)));
}

/** Gives the router its own addresses. */
export async function addressRouter(addresses: readonly string[]): Promise<void> {
  for (const address of addresses) check(await addAddress({ interface: "lo", address, prefix: hostPrefix(address) }));
}

/** Links a node to the router by a veth pair. */
export async function linkNode(plan: NodePlan, netns: number): Promise<void> {
  const ends = linkEnds(plan);
  check(await createVeth({ name: ends.router, peer: { name: ends.node, netns } }));
  await configureLink(plan, netns);
}

/** Addresses and routes of a node's link, whatever its two ends are made of. Both must be there and bare. */
export async function configureLink(plan: NodePlan, netns: number): Promise<void> {
  const ends = linkEnds(plan);
  await raise([ends.router], [ends.node, netns]);
  for (const own of plan.routerEnd) check(await addAddress({ interface: ends.router, ...own }));
  for (const own of plan.nodeEnd) check(await addAddress({ interface: ends.node, ...own, netns }));
  for (const [i, destination] of plan.podRanges.entries()) {
    const via = plan.nodeEnd[i]?.address;
    const back = plan.routerEnd[i]?.address;
    if (via === undefined || back === undefined) continue;
    check(await addRoute({ destination, via }));
    const everywhere = { address: via.includes(":") ? "::" : "0.0.0.0", prefix: 0 };
    check(await addRoute({ destination: everywhere, via: back, netns }));
  }
}

export function unlinkNode(plan: NodePlan): Promise<LinuxError | undefined> {
  return deleteLink(linkEnds(plan).router);
}

export function linkEnds(plan: NodePlan): LinkEnds {
  return { router: `link${plan.index}`, node: "eth0" };
}

/**
 * Connects a pod's namespace to the node (the caller's own namespace).
 * @param addresses of the pod, one per family.
 */
export async function linkPod(
  plan: NodePlan,
  veth: string,
  netns: number,
  addresses: readonly string[],
): Promise<void> {
  await prepareNamespace(netns); // first: interfaces copy the defaults when they are made
  check(await createVeth({ name: veth, peer: { name: "eth0", netns } }));
  await raise([veth], ["eth0", netns]);
  for (const address of addresses) {
    const v6 = address.includes(":");
    // Of IPv4 the node answers ARP for any address it has; of IPv6 only for those of that interface.
    const gateway = v6 ? "fe80::1" : (plan.nodeEnd[0]?.address ?? "");
    if (v6) check(await addAddress({ interface: veth, address: gateway, prefix: 64 }));
    check(await addAddress({ interface: "eth0", address, prefix: hostPrefix(address), netns }));
    const everywhere = { address: v6 ? "::" : "0.0.0.0", prefix: 0 };
    check(await addRoute({ destination: everywhere, via: gateway, interface: "eth0", onlink: true, netns }));
    check(await addRoute({ destination: { address, prefix: hostPrefix(address) }, interface: veth }));
  }
}

export function unlinkPod(veth: string): Promise<LinuxError | undefined> {
  return deleteLink(veth);
}

/** The kernel refused part of the topology: there is no lab then. */
export function check(failure: LinuxError | undefined): void {
  if (failure !== undefined) throw failure;
}

/** Sets both ends up, and waits until both can be used. */
async function raise(...ends: readonly (readonly [name: string, netns?: number])[]): Promise<void> {
  for (const [name, netns] of ends) check(await setUp(name, inNetns(netns)));
  for (const [name, netns] of ends) check(await settleLink(name, inNetns(netns)));
}

function hostPrefix(address: string): number {
  return address.includes(":") ? 128 : 32;
}

function inNetns(netns: number | undefined): { netns?: number } {
  return netns === undefined ? {} : { netns };
}
