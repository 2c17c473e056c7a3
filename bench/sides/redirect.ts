/**
 * The redirection of a foreign proxy's pod: the rules that cni/ writes for ours, as they are, and beside them what such a proxy needs to be known
 * for one. Ours marks its sockets; a proxy that can't do that is known by its user.
 */
import { closeSync } from "node:fs";
import { podRouting, podRules, proxyMark } from "../../cni/daemon/rules.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { openNamespace } from "../../core/linux/namespace.ts";
import { addRoute } from "../../core/linux/netlink/routes.ts";
import { addRule } from "../../core/linux/netlink/rules.ts";
import { applyTransaction } from "../../core/linux/nftables/apply.ts";
import { replaceTables, type Chain, type Rule, type Table } from "../../core/linux/nftables/model.ts";

export interface RedirectOptions {
  /** What this user sends is the proxy's: marked as ours marks it. Absent: the proxy marks by itself. */
  readonly uid?: number;
  /** Where the peer's proxy comes in, beside 15008: not redirected. */
  readonly tunnelPorts?: readonly number[];
}

/** Where a proxy in a pod is redirected to. */
export const outboundPort = 15001;
/** The one port that the rules leave to tunnels by themselves. */
export const tunnelPort = 15008;

/** Pure. */
export function redirectTables({ uid, tunnelPorts = [] }: RedirectOptions): Table[] {
  const [nat, ...others] = podRules({ dnsCapture: false, ipv6: true });
  if (nat === undefined) throw new Error("cni/daemon/rules.ts has no table");
  const chains = nat.chains.map((chain) => (chain.name === "istio-prerouting" ? letIn(chain, tunnelPorts) : chain));
  return [{ ...nat, chains }, ...others, ...(uid === undefined ? [] : [markTable(uid)])];
}

/** Puts rules, routing rule and route into a namespace. @throws LinuxError where the kernel refuses them. */
export async function redirect(netns: string, options: RedirectOptions): Promise<void> {
  const fd = check(openNamespace(netns));
  try {
    const { rules, routes } = podRouting(true);
    for (const rule of rules) check(await addRule({ ...rule, netns: fd }));
    for (const route of routes) check(await addRoute({ ...route, netns: fd }));
    check(await applyTransaction(fd, replaceTables(redirectTables(options))));
  } finally {
    closeSync(fd);
  }
}

/** After the first rule, which keeps running connections, and before that which redirects. */
function letIn(chain: Chain, tunnelPorts: readonly number[]): Chain {
  const [running, ...rest] = chain.rules;
  const accepting = tunnelPorts.map((port): Rule => {
    return [{ kind: "port", protocol: "tcp", side: "destination", port }, { kind: "counter" }, { kind: "accept" }];
  });
  return { ...chain, rules: [...(running === undefined ? [] : [running]), ...accepting, ...rest] };
}

/** Type filter, not route: the mark comes before the routing of rules that look at it, and costs no look-up of its own. */
function markTable(uid: number): Table {
  return {
    family: "inet",
    name: "bench-mark",
    chains: [
      {
        name: "output",
        hook: { type: "filter", hook: "output", priority: -151 },
        rules: [
          [
            { kind: "user", uid },
            { kind: "set-mark", value: proxyMark.value },
          ],
        ],
      },
    ],
  };
}

function check<T>(answer: T | LinuxError): T {
  if (answer instanceof LinuxError) throw answer;
  return answer;
}
