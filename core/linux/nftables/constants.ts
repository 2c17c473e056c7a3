/** Numbers of linux/netfilter/nf_tables.h and its neighbours, under the kernel's names. */
import type { Family, Hook, Protocol, SetKeys } from "./model.ts";

export const NFT_MSG = {
  NEWTABLE: 0,
  GETTABLE: 1,
  DELTABLE: 2,
  NEWCHAIN: 3,
  GETCHAIN: 4,
  DELCHAIN: 5,
  NEWRULE: 6,
  GETRULE: 7,
  DELRULE: 8,
  NEWSET: 9,
  NEWSETELEM: 12,
  GETSETELEM: 13,
  DELSETELEM: 14,
} as const;

export const NFTA_TABLE_NAME = 1;

export const NFTA_CHAIN_TABLE = 1;
export const NFTA_CHAIN_NAME = 3;
export const NFTA_CHAIN_HOOK = 4;
export const NFTA_CHAIN_POLICY = 5;
export const NFTA_CHAIN_TYPE = 7;
export const NFTA_HOOK_HOOKNUM = 1;
export const NFTA_HOOK_PRIORITY = 2;

export const NFTA_RULE_TABLE = 1;
export const NFTA_RULE_CHAIN = 2;
export const NFTA_RULE_EXPRESSIONS = 4;

export const NFTA_SET_TABLE = 1;
export const NFTA_SET_NAME = 2;
export const NFTA_SET_KEY_TYPE = 4;
export const NFTA_SET_KEY_LEN = 5;
export const NFTA_SET_ID = 10;
export const NFTA_SET_ELEM_LIST_TABLE = 1;
export const NFTA_SET_ELEM_LIST_SET = 2;
export const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
export const NFTA_SET_ELEM_KEY = 1;
export const NFTA_SET_ELEM_USERDATA = 6;

export const NFTA_LIST_ELEM = 1;
export const NFTA_EXPR_NAME = 1;
export const NFTA_EXPR_DATA = 2;
export const NFTA_DATA_VALUE = 1;
export const NFTA_DATA_VERDICT = 2;
export const NFTA_VERDICT_CODE = 1;
export const NFTA_VERDICT_CHAIN = 2;

/** Attribute numbers of each expression's own list. */
export const NFTA = {
  immediate: { dreg: 1, data: 2 },
  meta: { dreg: 1, key: 2, sreg: 3 },
  ct: { dreg: 1, key: 2, direction: 3, sreg: 4 },
  payload: { dreg: 1, base: 2, offset: 3, len: 4 },
  cmp: { sreg: 1, op: 2, data: 3 },
  bitwise: { sreg: 1, dreg: 2, len: 3, mask: 4, xor: 5 },
  byteorder: { sreg: 1, dreg: 2, op: 3, len: 4, size: 5 },
  numgen: { dreg: 1, modulus: 2, type: 3, offset: 4 },
  counter: { bytes: 1, packets: 2 },
  lookup: { set: 1, sreg: 2 },
  redir: { protoMin: 1 },
  nat: { type: 1, family: 2, addressMin: 3, addressMax: 4, protoMin: 5 },
} as const;

export const META_KEY = { mark: 3, iifname: 6, oifname: 7, skuid: 10, nfproto: 15, l4proto: 16 } as const;
export const CT_KEY = { mark: 3, zone: 17 } as const;
export const PAYLOAD_BASE = { network: 1, transport: 2 } as const;
export const CMP_OP = { eq: 0, neq: 1, lt: 2 } as const;
export const BYTEORDER_HTON = 1;
export const NUMGEN_RANDOM = 1;
export const NAT_TYPE = { snat: 0, dnat: 1 } as const;
export const VERDICT = { drop: 0, accept: 1, jump: -3, return: -5 } as const;

/** What the kernel keeps of a set's keys; the type's number is nft's own, so that `nft list` shows addresses. */
export const SET_KEY = {
  ipv4: { type: 7, bytes: 4 },
  ipv6: { type: 8, bytes: 16 },
} as const satisfies Record<SetKeys, object>;

export const NFPROTO = { inet: 1, ip: 2, ip6: 10 } as const satisfies Record<Family, number>;
export const IPPROTO = { tcp: 6, udp: 17 } as const satisfies Record<Protocol, number>;
export const HOOK = {
  prerouting: 0,
  input: 1,
  forward: 2,
  output: 3,
  postrouting: 4,
} as const satisfies Record<Hook["hook"], number>;
