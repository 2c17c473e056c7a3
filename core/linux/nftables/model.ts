/** nf_tables as data: tables of chains of rules of expressions, as `nft list` would show them. Nothing here knows the kernel. */

export type Family = "inet" | "ip" | "ip6";

export interface Table {
  readonly family: Family;
  readonly name: string;
  readonly chains: readonly Chain[];
}

export interface Chain {
  readonly name: string;
  /** A base chain: packets come to it at this point of their way. Without: only by jump. */
  readonly hook?: Hook;
  readonly rules: readonly Rule[];
}

export interface Hook {
  readonly type: "nat" | "filter" | "route";
  readonly hook: "prerouting" | "input" | "forward" | "output" | "postrouting";
  /** Smaller goes first: raw -300, mangle -150, dstnat -100, filter 0, srcnat 100. */
  readonly priority: number;
}

/** From left to right: the first expression that doesn't match ends the rule. */
export type Rule = readonly Expression[];

export type Protocol = "tcp" | "udp";

/**
 * What a rule may say. Matches carry `not` for "!=". Those of addresses and ports bring the match of address family and
 * protocol that they depend on, as nft's own do; `counter` counts the packets that came so far.
 */
export type Expression =
  | { readonly kind: "protocol"; readonly protocol: Protocol }
  | { readonly kind: "interface"; readonly side: "in" | "out"; readonly name: string; readonly not?: boolean }
  | {
      readonly kind: "address";
      readonly side: "source" | "destination";
      readonly address: string;
      /** Bits; the whole address when missing. */
      readonly prefix?: number;
      readonly not?: boolean;
    }
  /** The address is an element of that set of the same table. */
  | {
      readonly kind: "in-set";
      readonly side: "source" | "destination";
      readonly set: string;
      readonly keys: SetKeys;
    }
  | {
      readonly kind: "port";
      readonly protocol: Protocol;
      readonly side: "source" | "destination";
      readonly port: number;
      readonly not?: boolean;
    }
  /** Of the flags in `mask`, exactly those in `value` are set. */
  | { readonly kind: "tcp-flags"; readonly mask: number; readonly value: number; readonly not?: boolean }
  /** The packet's mark (or its connection's) under `mask`, all bits when missing. */
  | { readonly kind: "mark"; readonly mask?: number; readonly value: number; readonly not?: boolean }
  | { readonly kind: "connection-mark"; readonly mask?: number; readonly value: number; readonly not?: boolean }
  /** The owner of the local socket that sends. */
  | { readonly kind: "user"; readonly uid: number; readonly not?: boolean }
  /** True for `below` of `modulus` packets, by chance. */
  | { readonly kind: "random"; readonly modulus: number; readonly below: number }
  | { readonly kind: "counter" }
  | { readonly kind: "set-mark"; readonly value: number }
  /** The connection's mark keeps the bits in `keep` and gets those of `value`. */
  | { readonly kind: "set-connection-mark"; readonly keep: number; readonly value: number }
  /** The packet gets its connection's mark. */
  | { readonly kind: "restore-mark" }
  /** In chains before conntrack only (priority below -200). */
  | { readonly kind: "set-zone"; readonly zone: number }
  /** To this host's own address, at that port. */
  | { readonly kind: "redirect"; readonly port: number }
  | { readonly kind: "dnat"; readonly address: string; readonly port?: number }
  | { readonly kind: "snat"; readonly address: string }
  | { readonly kind: "masquerade" }
  | { readonly kind: "accept" | "drop" | "return" }
  | { readonly kind: "jump"; readonly chain: string };

/** What a named set holds: addresses of one family. */
export type SetKeys = "ipv4" | "ipv6";

/** One address of a set, with a word beside it that the kernel keeps and doesn't read. */
export interface SetElement {
  readonly address: string;
  /** At most 127 bytes; empty for none. */
  readonly comment: string;
}

/** One step of a transaction. All steps happen, or none. */
export type NftOperation =
  /** One that is there stays as it is. */
  | { readonly kind: "add-table"; readonly family: Family; readonly table: string }
  /** Removes every rule; chains stay. */
  | { readonly kind: "flush-table"; readonly family: Family; readonly table: string }
  /** With all that is in it. ENOENT when it isn't there: `add-table` before makes sure. */
  | { readonly kind: "delete-table"; readonly family: Family; readonly table: string }
  /** One that is there stays as it is; with another hook it is an error. */
  | {
      readonly kind: "add-chain";
      readonly family: Family;
      readonly table: string;
      readonly chain: string;
      readonly hook?: Hook;
    }
  | { readonly kind: "flush-chain"; readonly family: Family; readonly table: string; readonly chain: string }
  | { readonly kind: "delete-chain"; readonly family: Family; readonly table: string; readonly chain: string }
  /** One that is there stays as it is, elements included; with other keys it is an error. */
  | {
      readonly kind: "add-set";
      readonly family: Family;
      readonly table: string;
      readonly set: string;
      readonly keys: SetKeys;
    }
  /** One that is there stays as it is, comment included: see putElements. */
  | {
      readonly kind: "add-elements";
      readonly family: Family;
      readonly table: string;
      readonly set: string;
      readonly elements: readonly SetElement[];
    }
  /** ENOENT where one isn't there. */
  | {
      readonly kind: "delete-elements";
      readonly family: Family;
      readonly table: string;
      readonly set: string;
      readonly addresses: readonly string[];
    }
  /** At the end of the chain. */
  | {
      readonly kind: "add-rule";
      readonly family: Family;
      readonly table: string;
      readonly chain: string;
      readonly rule: Rule;
    };

/**
 * The transaction after which these tables are exactly so, whatever rules were in them. Chains are emptied, not deleted:
 * a nat hook that goes takes the translations of running connections with it. Chains that don't belong stay (see drift).
 */
export function replaceTables(tables: readonly Table[]): NftOperation[] {
  return tables.flatMap(({ family, name: table, chains }) => [
    { kind: "add-table", family, table },
    { kind: "flush-table", family, table },
    // All chains before any rule: rules jump forward.
    ...chains.map(({ name, hook }): NftOperation => {
      return { kind: "add-chain", family, table, chain: name, ...(hook === undefined ? {} : { hook }) };
    }),
    ...chains.flatMap(({ name, rules }) =>
      rules.map((rule): NftOperation => ({ kind: "add-rule", family, table, chain: name, rule })),
    ),
  ]);
}

/** Puts elements into a set that may hold them already: then with another comment, which an addition alone would not change. */
export function putElements(
  place: { readonly family: Family; readonly table: string; readonly set: string },
  elements: readonly SetElement[],
): NftOperation[] {
  if (elements.length === 0) return [];
  const addresses = elements.map(({ address }) => address);
  return [
    // Added so that the deletion finds it.
    { kind: "add-elements", ...place, elements },
    { kind: "delete-elements", ...place, addresses },
    { kind: "add-elements", ...place, elements },
  ];
}

/** Deletes tables whether they are there or not. */
export function removeTables(tables: readonly { readonly family: Family; readonly name: string }[]): NftOperation[] {
  return tables.flatMap(({ family, name: table }): NftOperation[] => [
    { kind: "add-table", family, table },
    { kind: "delete-table", family, table },
  ]);
}
