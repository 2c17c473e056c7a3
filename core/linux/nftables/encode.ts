/** A transaction as one netlink message of messages: begin, one for each operation, end (linux/netfilter/nfnetlink.h). */
import { parseIp } from "../../base/ip.ts";
import { attribute, nested, textAttribute, uint32NetworkAttribute } from "../netlink-attributes.ts";
import { compileRule, type Instruction } from "./compile.ts";
import {
  HOOK,
  NFPROTO,
  NFT_MSG,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_POLICY,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_DATA_VALUE,
  NFTA_EXPR_DATA,
  NFTA_EXPR_NAME,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_LIST_ELEM,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_TABLE,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_LIST_SET,
  NFTA_SET_ELEM_LIST_TABLE,
  NFTA_SET_ELEM_USERDATA,
  NFTA_SET_ID,
  NFTA_SET_KEY_LEN,
  NFTA_SET_KEY_TYPE,
  NFTA_SET_NAME,
  NFTA_SET_TABLE,
  NFTA_TABLE_NAME,
  SET_KEY,
  VERDICT,
} from "./constants.ts";
import type { Family, Hook, NftOperation, Rule, SetElement } from "./model.ts";
import { netlinkMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "./nfnetlink.ts";

/**
 * @param firstSequence the number of the begin message; operation i has `firstSequence + 1 + i`. Only the last operation asks
 * for an acknowledgement, so that answers don't overflow the socket; errors are always told.
 */
export function encodeTransaction(operations: readonly NftOperation[], firstSequence: number): Uint8Array {
  const last = operations.length - 1;
  const messages = operations.map((operation, i) => {
    const { message, flags, attributes } = encodeOperation(operation);
    const all = NLM_F_REQUEST | flags | (i === last ? NLM_F_ACK : 0);
    return nftMessage(message, all, firstSequence + 1 + i, operation.family, attributes);
  });
  const end = firstSequence + 1 + operations.length;
  return Buffer.concat([
    netlinkMessage(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, firstSequence, batchHeader, []),
    ...messages,
    netlinkMessage(NFNL_MSG_BATCH_END, NLM_F_REQUEST, end, batchHeader, []),
  ]);
}

/** A request for everything of a kind, in one table where `attributes` say so. */
export function encodeDump(message: number, sequence: number, family: Family, attributes: Uint8Array[]): Uint8Array {
  return nftMessage(message, NLM_F_REQUEST | NLM_F_DUMP, sequence, family, attributes);
}

/** The list of a rule's instructions, without a header of its own. */
export function encodeInstructions(instructions: readonly Instruction[]): Uint8Array[] {
  return instructions.map(({ name, attributes }) =>
    nested(NFTA_LIST_ELEM, [textAttribute(NFTA_EXPR_NAME, name), nested(NFTA_EXPR_DATA, attributes)]),
  );
}

function encodeOperation(operation: NftOperation): { message: number; flags: number; attributes: Uint8Array[] } {
  const { table } = operation;
  switch (operation.kind) {
    case "add-table":
      return { message: NFT_MSG.NEWTABLE, flags: NLM_F_CREATE, attributes: [textAttribute(NFTA_TABLE_NAME, table)] };
    case "delete-table":
      return { message: NFT_MSG.DELTABLE, flags: 0, attributes: [textAttribute(NFTA_TABLE_NAME, table)] };
    case "flush-table":
      return { message: NFT_MSG.DELRULE, flags: 0, attributes: [textAttribute(NFTA_RULE_TABLE, table)] };
    case "flush-chain":
      return { message: NFT_MSG.DELRULE, flags: 0, attributes: ruleIn(table, operation.chain) };
    case "add-chain":
      return {
        message: NFT_MSG.NEWCHAIN,
        flags: NLM_F_CREATE,
        attributes: [...chainIn(table, operation.chain), ...(operation.hook ? encodeHook(operation.hook) : [])],
      };
    case "delete-chain":
      return { message: NFT_MSG.DELCHAIN, flags: 0, attributes: chainIn(table, operation.chain) };
    case "add-set":
      return { message: NFT_MSG.NEWSET, flags: NLM_F_CREATE, attributes: encodeSet(operation) };
    case "add-elements":
      return {
        message: NFT_MSG.NEWSETELEM,
        flags: NLM_F_CREATE,
        attributes: elementsIn(table, operation.set, operation.elements),
      };
    case "delete-elements": {
      const elements = operation.addresses.map((address) => ({ address, comment: "" }));
      return { message: NFT_MSG.DELSETELEM, flags: 0, attributes: elementsIn(table, operation.set, elements) };
    }
    case "add-rule":
      return {
        message: NFT_MSG.NEWRULE,
        flags: NLM_F_CREATE | NLM_F_APPEND,
        attributes: [...ruleIn(table, operation.chain), encodeRule(operation.rule, operation.family)],
      };
  }
}

function encodeRule(rule: Rule, family: Family): Uint8Array {
  return nested(NFTA_RULE_EXPRESSIONS, encodeInstructions(compileRule(rule, family)));
}

function encodeHook({ type, hook, priority }: Hook): Uint8Array[] {
  const where = [
    uint32NetworkAttribute(NFTA_HOOK_HOOKNUM, HOOK[hook]),
    uint32NetworkAttribute(NFTA_HOOK_PRIORITY, priority),
  ];
  return [
    nested(NFTA_CHAIN_HOOK, where),
    uint32NetworkAttribute(NFTA_CHAIN_POLICY, VERDICT.accept),
    textAttribute(NFTA_CHAIN_TYPE, type),
  ];
}

function ruleIn(table: string, chain: string): Uint8Array[] {
  return [textAttribute(NFTA_RULE_TABLE, table), textAttribute(NFTA_RULE_CHAIN, chain)];
}

function chainIn(table: string, chain: string): Uint8Array[] {
  return [textAttribute(NFTA_CHAIN_TABLE, table), textAttribute(NFTA_CHAIN_NAME, chain)];
}

function encodeSet({ table, set, keys }: NftOperation & { kind: "add-set" }): Uint8Array[] {
  return [
    textAttribute(NFTA_SET_TABLE, table),
    textAttribute(NFTA_SET_NAME, set),
    uint32NetworkAttribute(NFTA_SET_KEY_TYPE, SET_KEY[keys].type),
    uint32NetworkAttribute(NFTA_SET_KEY_LEN, SET_KEY[keys].bytes),
    // Asked for by the kernel; rules name sets by name.
    uint32NetworkAttribute(NFTA_SET_ID, 1),
  ];
}

function elementsIn(table: string, set: string, elements: readonly SetElement[]): Uint8Array[] {
  const list = elements.map(({ address, comment }) => {
    const key = nested(NFTA_SET_ELEM_KEY, [attribute(NFTA_DATA_VALUE, ipBytes(address))]);
    const words = comment === "" ? [] : [attribute(NFTA_SET_ELEM_USERDATA, commentBytes(comment))];
    return nested(NFTA_LIST_ELEM, [key, ...words]);
  });
  return [...setIn(table, set), nested(NFTA_SET_ELEM_LIST_ELEMENTS, list)];
}

/** Names the set whose elements are meant. */
export function setIn(table: string, set: string): Uint8Array[] {
  return [textAttribute(NFTA_SET_ELEM_LIST_TABLE, table), textAttribute(NFTA_SET_ELEM_LIST_SET, set)];
}

/** nft's own form (libnftnl udata): type, length, text with its zero byte. */
function commentBytes(comment: string): Uint8Array {
  const text = Buffer.from(`${comment}\0`);
  if (text.length > 128) throw new Error(`"${comment}" is too long for a comment`);
  return Buffer.concat([Buffer.from([UDATA_COMMENT, text.length]), text]);
}

function ipBytes(address: string): Uint8Array {
  const bytes = parseIp(address);
  if (bytes === undefined) throw new Error(`${address} is no IP address`);
  return bytes;
}

function nftMessage(
  message: number,
  flags: number,
  sequence: number,
  family: Family,
  attributes: Uint8Array[],
): Uint8Array {
  const type = (NFNL_SUBSYS_NFTABLES << 8) | message;
  return netlinkMessage(type, flags, sequence, Uint8Array.of(NFPROTO[family], 0, 0, 0), attributes);
}

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
/** A batch names its subsystem, in network order. */
const batchHeader = Uint8Array.of(0, 0, 0, NFNL_SUBSYS_NFTABLES);

export const UDATA_COMMENT = 0;

const NLM_F_CREATE = 0x400;
const NLM_F_APPEND = 0x800;
