/** The lab's "kube-proxy": virtual addresses become pod addresses on the caller's node, for callers outside the mesh. Pure. */
import type { Expression, Rule, Table } from "../core/linux/nftables/model.ts";
import type { ServiceRoute } from "./service-routes.ts";

/**
 * The node's table: every endpoint of a service is as likely as any other. Without services it has no chains: a nat hook would make the
 * kernel track every connection that passes.
 * @param own the node's own addresses, one per family: a service without endpoints leads to a port there that refuses.
 */
export function serviceTable(routes: readonly ServiceRoute[], own: readonly string[]): Table {
  if (routes.length === 0) return { family: "inet", name: "lab-services", chains: [] };
  const jump: Rule = [{ kind: "jump", chain: "services" }];
  return {
    family: "inet",
    name: "lab-services",
    chains: [
      { name: "prerouting", hook: { type: "nat", hook: "prerouting", priority: dstnat }, rules: [jump] },
      { name: "output", hook: { type: "nat", hook: "output", priority: dstnat }, rules: [jump] },
      { name: "services", rules: routes.flatMap((route) => rulesOf(route, own)) },
    ],
  };
}

function rulesOf({ vip, targets: endpoints }: ServiceRoute, own: readonly string[]): Rule[] {
  const isSameFamily = (address: string): boolean => address.includes(":") === vip.address.includes(":");
  const refusing = own.filter(isSameFamily).map((address) => ({ address, port: nobodysPort }));
  const targets = endpoints.length > 0 ? endpoints : refusing;
  const match: Expression[] = [
    { kind: "address", side: "destination", address: vip.address },
    { kind: "port", protocol: "tcp", side: "destination", port: vip.port },
  ];
  return targets.map(({ address, port }, i): Rule => {
    // Of those that are left, this one by 1 in so many; the last one always.
    const left = targets.length - i;
    const chance: Expression[] = left === 1 ? [] : [{ kind: "random", modulus: left, below: 1 }];
    return [...match, ...chance, { kind: "dnat", address, port }];
  });
}

const dstnat = -100;
/** TCP port multiplexer (RFC 1078): nobody listens there. */
const nobodysPort = 1;
