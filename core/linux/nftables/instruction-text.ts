/** One text for one instruction, the same for what we would send and for what the kernel gives back: what drift is seen by. */
import { attributeText, listAttributes, parseAttributes } from "../netlink-attributes.ts";
import {
  CMP_OP,
  CT_KEY,
  META_KEY,
  NFTA,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_EXPR_DATA,
  NFTA_EXPR_NAME,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
  VERDICT,
} from "./constants.ts";

export interface ReadRule {
  /** One text for each instruction. Counters count, so their numbers are not part of it. */
  readonly instructions: readonly string[];
  /** Of the rule's first counter; packets at nat hooks are first packets, so connections. */
  readonly packets: number;
  readonly bytes: number;
}

/** @param list the payload of NFTA_RULE_EXPRESSIONS. */
export function readInstructions(list: Uint8Array): ReadRule {
  let packets = 0;
  let bytes = 0;
  const instructions = listAttributes(list).map(([, element]) => {
    const parts = parseAttributes(element);
    const name = attributeText(parts.get(NFTA_EXPR_NAME));
    const data = parseAttributes(parts.get(NFTA_EXPR_DATA) ?? nothing);
    if (name === "counter") {
      packets += count(data.get(NFTA.counter.packets));
      bytes += count(data.get(NFTA.counter.bytes));
    }
    return instructionText(name, data);
  });
  return { instructions, packets, bytes };
}

type Data = ReadonlyMap<number, Buffer>;

function instructionText(name: string, data: Data): string {
  switch (name) {
    case "meta":
    case "ct":
      return loadOrStore(name, data);
    case "payload": {
      const { base, offset, len, dreg } = NFTA.payload;
      const where = number(data, base) === 1 ? "network" : "transport";
      return `payload ${where}+${number(data, offset)} ${number(data, len)} bytes -> r${number(data, dreg)}`;
    }
    case "cmp":
      return `cmp r${number(data, NFTA.cmp.sreg)} ${nameOf(CMP_OP, number(data, NFTA.cmp.op))} ${hex(data, NFTA.cmp.data)}`;
    case "bitwise": {
      const { sreg, dreg, mask, xor } = NFTA.bitwise;
      return `bitwise r${number(data, dreg)} = (r${number(data, sreg)} & ${hex(data, mask)}) ^ ${hex(data, xor)}`;
    }
    case "byteorder":
      return `byteorder r${number(data, NFTA.byteorder.dreg)} size ${number(data, NFTA.byteorder.size)}`;
    case "numgen":
      return `numgen type ${number(data, NFTA.numgen.type)} mod ${number(data, NFTA.numgen.modulus)}`;
    case "immediate":
      return immediateText(data);
    case "redir":
      return `redir port r${number(data, NFTA.redir.protoMin)}`;
    case "nat": {
      const { type, addressMin, protoMin } = NFTA.nat;
      return `nat type ${number(data, type)} address r${number(data, addressMin)} port r${number(data, protoMin)}`;
    }
    case "lookup":
      return `lookup r${number(data, NFTA.lookup.sreg)} in ${attributeText(data.get(NFTA.lookup.set))}`;
    case "counter":
    case "masq":
      return name;
    default:
      // Somebody else's: shown whole, so that it differs from all of ours.
      return `${name} ${[...data].map(([type, bytes]) => `${type}=${bytes.toString("hex")}`).join(" ")}`;
  }
}

function loadOrStore(name: "meta" | "ct", data: Data): string {
  const types = NFTA[name];
  const key = nameOf(name === "meta" ? META_KEY : CT_KEY, number(data, types.key));
  return data.has(types.sreg)
    ? `${name} ${key} <- r${number(data, types.sreg)}`
    : `${name} ${key} -> r${number(data, types.dreg)}`;
}

function immediateText(data: Data): string {
  const value = parseAttributes(data.get(NFTA.immediate.data) ?? nothing);
  const verdict = value.get(NFTA_DATA_VERDICT);
  if (verdict === undefined)
    return `immediate r${number(data, NFTA.immediate.dreg)} = ${hex(data, NFTA.immediate.data)}`;
  const parts = parseAttributes(verdict);
  const code = parts.get(NFTA_VERDICT_CODE)?.readInt32BE(0) ?? 0;
  return `${nameOf(VERDICT, code)} ${attributeText(parts.get(NFTA_VERDICT_CHAIN))}`.trim();
}

function number(data: Data, type: number): number {
  return data.get(type)?.readUInt32BE(0) ?? 0;
}

function hex(data: Data, type: number): string {
  const value = parseAttributes(data.get(type) ?? nothing).get(NFTA_DATA_VALUE) ?? nothing;
  return `0x${Buffer.from(value).toString("hex")}`;
}

function count(bytes: Buffer | undefined): number {
  return bytes === undefined ? 0 : Number(bytes.readBigUInt64BE(0));
}

function nameOf(numbers: Readonly<Record<string, number>>, wanted: number): string {
  return Object.entries(numbers).find(([, each]) => each === wanted)?.[0] ?? String(wanted);
}

const nothing = new Uint8Array();
