/** Which sockets in a pod's namespace still hang on our rules: without the nat chains and the connmark they would be reset.
 *  The kernel is asked, not the agent, so the answer holds for an agent that died, or never heard of the pod's leaving. */
import { networkInterfaces } from "node:os";
import { canonicalIp, isLoopback } from "../../core/base/ip.ts";
import { destroySocket } from "../../core/linux/destroy-socket.ts";
import { inNamespace } from "../../core/linux/namespace.ts";
import { tcpSockets, type TcpSocket } from "../../core/linux/procfs.ts";
import { ports } from "./rules.ts";

export interface HeldSockets {
  /** Ends, at the agent, of connections that the rules redirected, and its connections from a client's own address to the pod. */
  readonly connections: number;
  /** The agent listens still: it hasn't let go of the pod. */
  readonly listeners: number;
}

/** Captured going out, captured coming in, HBONE, whose streams continue as connections to the application, and DNS over TCP. */
const agentPorts: ReadonlySet<number> = new Set([ports.outbound, ports.inboundPlaintext, ports.hbone, ports.dns]);

/** @param podAddresses canonical text; what the namespace's own interfaces carry is added. */
export function heldSockets(netns: number, podAddresses: readonly string[]): HeldSockets {
  const own = new Set([...podAddresses, ...interfaceAddresses(netns)]);
  return countHeld(tcpSockets(netns), own);
}

/**
 * Ends what still hangs on the rules while these can bring the application a reset: without them it would wait in vain for
 * answers. A kernel that can't be told so leaves it to that.
 */
export function cutHeldSockets(netns: number): void {
  const own = new Set(interfaceAddresses(netns));
  for (const socket of tcpSockets(netns)) if (isHeldConnection(socket, own)) destroySocket(netns, socket);
}

/** @param own canonical addresses of the pod. */
export function countHeld(sockets: readonly TcpSocket[], own: ReadonlySet<string>): HeldSockets {
  let connections = 0;
  let listeners = 0;
  for (const socket of sockets) {
    if (socket.state === "listen" && agentPorts.has(socket.local.port)) listeners += 1;
    if (isHeldConnection(socket, own)) connections += 1;
  }
  return { connections, listeners };
}

function isHeldConnection({ local, state }: TcpSocket, own: ReadonlySet<string>): boolean {
  if (state === "listen" || ended.has(state)) return false;
  return agentPorts.has(local.port) || isForeign(local.address, own);
}

/** Bound to an address the pod doesn't have: a connection the agent made to the application in its client's name. */
function isForeign(address: string, own: ReadonlySet<string>): boolean {
  return !isLoopback(address) && !unspecified.has(address) && !own.has(address);
}

function interfaceAddresses(netns: number): string[] {
  const interfaces = inNamespace(netns, networkInterfaces);
  return Object.values(interfaces).flatMap((list = []) => list.flatMap(({ address }) => canonicalIp(address) ?? []));
}

/** Both ends have all they will get: nothing is lost when such a segment comes again and nobody knows it. */
const ended: ReadonlySet<TcpSocket["state"]> = new Set(["time-wait", "closed"]);

const unspecified: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
