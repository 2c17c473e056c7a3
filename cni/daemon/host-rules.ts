/**
 * What stands in the node's own namespace: kubelet's probes to captured pods leave from an address that no peer can have, and the
 * rules in the pod let that address pass (rules.ts). All else that comes from the node, what kube-proxy forwards above all, keeps
 * its own address and is judged like any peer.
 */
import {
  putElements,
  removeTables,
  replaceTables,
  type Expression,
  type NftOperation,
  type SetElement,
  type SetKeys,
  type Table,
} from "../../core/linux/nftables/model.ts";
import { defaultProbeAddresses } from "./rules.ts";

/** Addresses of captured pods of this node, each with its pod's UID as comment. */
export const probeSets = { ipv4: "probed-pods-v4", ipv6: "probed-pods-v6" } as const satisfies Record<SetKeys, string>;
export const hostTable = "ambientd-probes";

/** @param kubeletUid whose connections are probes: user id of the kubelet, 0 on most nodes, and then any root process of the node. */
export function hostRules(kubeletUid: number): Table {
  const rule = (keys: SetKeys): Expression[] => [
    { kind: "protocol", protocol: "tcp" },
    { kind: "user", uid: kubeletUid },
    { kind: "in-set", side: "destination", set: probeSets[keys], keys },
    { kind: "counter" },
    { kind: "snat", address: defaultProbeAddresses[keys] },
  ];
  const forged = (keys: SetKeys): Expression[] => [
    { kind: "address", side: "source", address: defaultProbeAddresses[keys], prefix: keys === "ipv4" ? 32 : 128 },
    { kind: "counter" },
    { kind: "drop" },
  ];
  return {
    family,
    name: hostTable,
    chains: [
      {
        name: "forged",
        // Nobody but this node itself has that address: what comes in with it is a pod's, or another node's, forgery, and would pass every
        // captured pod's rules unjudged.
        hook: { type: "filter", hook: "prerouting", priority: -300 },
        rules: [forged("ipv4"), forged("ipv6")],
      },
      {
        name: "postrouting",
        // Whoever translates a connection first has the say: before kube-proxy's and other plugins' masquerading (100).
        hook: { type: "nat", hook: "postrouting", priority: 90 },
        rules: [rule("ipv4"), rule("ipv6")],
      },
    ],
  };
}

/** The transaction after which rules and sets are there; what the sets hold stays. */
export function installHostRules(kubeletUid: number): NftOperation[] {
  const sets = (["ipv4", "ipv6"] as const).map((keys): NftOperation => {
    return { kind: "add-set", family, table: hostTable, set: probeSets[keys], keys };
  });
  return [{ kind: "add-table", family, table: hostTable }, ...sets, ...replaceTables([hostRules(kubeletUid)])];
}

export function removeHostRules(): NftOperation[] {
  return removeTables([{ family, name: hostTable }]);
}

/** Each address belongs to this pod from now on, whoever had it before. */
export function putProbed(uid: string, addresses: readonly string[]): NftOperation[] {
  return byFamily(addresses).flatMap(([keys, some]) => {
    const elements = some.map((address): SetElement => ({ address, comment: uid }));
    return putElements({ family, table: hostTable, set: probeSets[keys] }, elements);
  });
}

export function removeProbed(addresses: readonly string[]): NftOperation[] {
  return byFamily(addresses)
    .filter(([, some]) => some.length > 0)
    .map(([keys, some]) => {
      return { kind: "delete-elements", family, table: hostTable, set: probeSets[keys], addresses: some };
    });
}

export const hostFamily = "inet";
const family = hostFamily;

function byFamily(addresses: readonly string[]): [SetKeys, string[]][] {
  const unique = [...new Set(addresses)];
  return [
    ["ipv4", unique.filter((address) => !address.includes(":"))],
    ["ipv6", unique.filter((address) => address.includes(":"))],
  ];
}
