/** The agent's own ports inside a pod (agent-wire 1.2). A connection that ends on one of them would come back to the agent for ever. */

/** Where every HBONE workload takes tunnels. */
export const hbonePort = 15_008;

/** Outbound capture, inbound plaintext capture, HBONE, DNS. */
const ownPorts: ReadonlySet<number> = new Set([15_001, 15_006, hbonePort, 15_053]);

export function isOwnPort(port: number): boolean {
  return ownPorts.has(port);
}
