/** What nf_tables holds, in one canonical form with what we would have put there: what reconciling compares. */
import { LinuxError } from "../errno.ts";
import { formatIp } from "../../base/ip.ts";
import { attributeText, listAttributes, parseAttributes, textAttribute } from "../netlink-attributes.ts";
import { compileRule } from "./compile.ts";
import {
  HOOK,
  NFT_MSG,
  NFTA_CHAIN_HOOK,
  NFTA_CHAIN_NAME,
  NFTA_CHAIN_TABLE,
  NFTA_CHAIN_TYPE,
  NFTA_HOOK_HOOKNUM,
  NFTA_HOOK_PRIORITY,
  NFTA_RULE_CHAIN,
  NFTA_RULE_EXPRESSIONS,
  NFTA_RULE_TABLE,
  NFTA_DATA_VALUE,
  NFTA_SET_ELEM_KEY,
  NFTA_SET_ELEM_LIST_ELEMENTS,
  NFTA_SET_ELEM_USERDATA,
} from "./constants.ts";
import { encodeDump, encodeInstructions, setIn, UDATA_COMMENT } from "./encode.ts";
import { readInstructions, type ReadRule } from "./instruction-text.ts";
import type { Family, Hook, SetElement, Table } from "./model.ts";
import { exchange, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, verdictError, verdictOf } from "./nfnetlink.ts";

export interface ReadTable {
  readonly chains: readonly ReadChain[];
}

export interface ReadChain {
  readonly name: string;
  readonly hook?: Hook;
  readonly rules: readonly ReadRule[];
}

/** The chains and rules of one table, in order; undefined when there is no such table, or nothing in it. */
export function readBack(netns: number | undefined, family: Family, table: string): ReadTable | LinuxError | undefined {
  const chains = dump(netns, NFT_MSG.GETCHAIN, family, []);
  if (chains instanceof LinuxError) return chains;
  const rules = dump(netns, NFT_MSG.GETRULE, family, [textAttribute(NFTA_RULE_TABLE, table)]);
  if (rules instanceof LinuxError) return rules.errno === "ENOENT" ? undefined : rules;
  const ofTable = rules.filter((rule) => attributeText(rule.get(NFTA_RULE_TABLE)) === table);
  const read = chains
    .filter((chain) => attributeText(chain.get(NFTA_CHAIN_TABLE)) === table)
    .map((chain) => readChain(chain, ofTable));
  return read.length === 0 ? undefined : { chains: read };
}

/** What a set holds, in no order; undefined when there is no such set. */
export function readSet(
  netns: number | undefined,
  family: Family,
  table: string,
  set: string,
): SetElement[] | LinuxError | undefined {
  const lists = dump(netns, NFT_MSG.GETSETELEM, family, setIn(table, set));
  if (lists instanceof LinuxError) return lists.errno === "ENOENT" ? undefined : lists;
  return lists.flatMap((list) =>
    listAttributes(list.get(NFTA_SET_ELEM_LIST_ELEMENTS) ?? new Uint8Array()).map(([, bytes]) => readElement(bytes)),
  );
}

/** The same form, of a table as it should be (nothing counted). */
export function canonical(table: Table): ReadTable {
  return {
    chains: table.chains.map(({ name, hook, rules }) => ({
      name,
      ...(hook === undefined ? {} : { hook }),
      rules: rules.map((rule) => readInstructions(Buffer.concat(encodeInstructions(compileRule(rule, table.family))))),
    })),
  };
}

/** How the kernel's table differs from the wanted one, a sentence each; none: they are the same, in order. */
export function drift(wanted: Table, actual: ReadTable | undefined): string[] {
  if (actual === undefined) return [`table ${wanted.name} is missing`];
  const chains = new Map(actual.chains.map((chain) => [chain.name, chain]));
  const found: string[] = [];
  for (const chain of canonical(wanted).chains) {
    const there = chains.get(chain.name);
    chains.delete(chain.name);
    if (there === undefined) found.push(`chain ${chain.name} is missing`);
    else found.push(...chainDrift(chain, there));
  }
  for (const name of chains.keys()) found.push(`chain ${name} does not belong`);
  return found;
}

function chainDrift(wanted: ReadChain, actual: ReadChain): string[] {
  const found: string[] = [];
  if (hookText(wanted.hook) !== hookText(actual.hook)) found.push(`chain ${wanted.name} has another hook`);
  const length = Math.max(wanted.rules.length, actual.rules.length);
  for (let i = 0; i < length; i++) {
    const should = wanted.rules[i]?.instructions.join("; ") ?? "no rule";
    const is = actual.rules[i]?.instructions.join("; ") ?? "no rule";
    if (should !== is) found.push(`rule ${i} of chain ${wanted.name} is "${is}" and should be "${should}"`);
  }
  return found;
}

function hookText(hook: Hook | undefined): string {
  return hook === undefined ? "" : `${hook.type} ${hook.hook} ${hook.priority}`;
}

type Attributes = ReadonlyMap<number, Buffer>;

function readChain(chain: Attributes, rules: readonly Attributes[]): ReadChain {
  const name = attributeText(chain.get(NFTA_CHAIN_NAME));
  const hook = readHook(chain);
  return {
    name,
    ...(hook === undefined ? {} : { hook }),
    rules: rules
      .filter((rule) => attributeText(rule.get(NFTA_RULE_CHAIN)) === name)
      .map((rule) => readInstructions(rule.get(NFTA_RULE_EXPRESSIONS) ?? new Uint8Array())),
  };
}

function readElement(bytes: Uint8Array): SetElement {
  const parts = parseAttributes(bytes);
  const key = parseAttributes(parts.get(NFTA_SET_ELEM_KEY) ?? new Uint8Array()).get(NFTA_DATA_VALUE);
  return { address: formatIp(key ?? new Uint8Array()) ?? "", comment: commentOf(parts.get(NFTA_SET_ELEM_USERDATA)) };
}

/** Type, length, value, one after the other; the comment is one of them. */
function commentOf(words: Uint8Array = new Uint8Array()): string {
  for (let at = 0; at + 2 <= words.length; at += 2 + (words[at + 1] ?? 0))
    if (words[at] === UDATA_COMMENT) return attributeText(words.subarray(at + 2, at + 2 + (words[at + 1] ?? 0)));
  return "";
}

function readHook(chain: Attributes): Hook | undefined {
  const bytes = chain.get(NFTA_CHAIN_HOOK);
  if (bytes === undefined) return undefined;
  const parts = parseAttributes(bytes);
  const number = parts.get(NFTA_HOOK_HOOKNUM)?.readUInt32BE(0);
  return {
    type: attributeText(chain.get(NFTA_CHAIN_TYPE)) as Hook["type"],
    hook: (Object.entries(HOOK).find(([, each]) => each === number)?.[0] ?? String(number)) as Hook["hook"],
    priority: parts.get(NFTA_HOOK_PRIORITY)?.readInt32BE(0) ?? 0,
  };
}

/** Everything of a kind. The kernel says when somebody changed it meanwhile: then once more. */
function dump(
  netns: number | undefined,
  message: number,
  family: Family,
  filter: Uint8Array[],
): Attributes[] | LinuxError {
  for (let attempt = 0; ; attempt++) {
    const answers = exchange(netns, encodeDump(message, attempt + 1, family, filter));
    if (answers instanceof LinuxError) return answers;
    const interrupted = answers.some(({ flags, type }) => type !== NLMSG_ERROR && (flags & NLM_F_DUMP_INTR) !== 0);
    if (interrupted && attempt < DUMP_ATTEMPTS) continue;
    const refused = answers.find(({ type }) => type === NLMSG_ERROR);
    if (refused !== undefined) return verdictError("nft list", verdictOf(refused), family);
    if (!answers.some(({ type }) => type === NLMSG_DONE))
      return new LinuxError({ code: "linux.no-answer", call: "nft list" });
    return answers.filter(({ type }) => type !== NLMSG_DONE).map(({ payload }) => parseAttributes(payload.subarray(4)));
  }
}

const DUMP_ATTEMPTS = 5;
