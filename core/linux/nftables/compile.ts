/**
 * A rule as the kernel's machine runs it: load something into a register, change it, compare it, act. The sequences are those
 * that nft itself writes, so that `nft list` shows our rules as a person would have typed them.
 */
import { parseIp } from "../../base/ip.ts";
import { attribute, nested, textAttribute, uint32NetworkAttribute } from "../netlink-attributes.ts";
import {
  BYTEORDER_HTON,
  CMP_OP,
  CT_KEY,
  IPPROTO,
  META_KEY,
  NAT_TYPE,
  NFPROTO,
  NFTA,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
  NUMGEN_RANDOM,
  PAYLOAD_BASE,
  SET_KEY,
  VERDICT,
} from "./constants.ts";
import type { Expression, Family, Protocol, Rule } from "./model.ts";

/** One instruction: its name and its encoded attributes. */
export interface Instruction {
  readonly name: string;
  readonly attributes: readonly Uint8Array[];
}

/** @throws for a rule that cannot be: addresses that are none, an IPv6 address in a table of IPv4. Rules are our own data. */
export function compileRule(rule: Rule, family: Family): Instruction[] {
  const known: Known = { family: family === "inet" ? undefined : family, protocol: undefined };
  return rule.flatMap((expression) => compile(expression, known));
}

/** What the rule has matched so far, so that no dependency is matched twice. */
interface Known {
  family: "ip" | "ip6" | undefined;
  protocol: Protocol | undefined;
}

function compile(expression: Expression, known: Known): Instruction[] {
  switch (expression.kind) {
    case "protocol":
      known.protocol = expression.protocol;
      return protocolMatch(expression.protocol);
    case "interface":
      return [
        loadMeta(expression.side === "in" ? META_KEY.iifname : META_KEY.oifname),
        compare(expression.not, interfaceName(expression.name)),
      ];
    case "address":
      return addressMatch(expression, known);
    case "in-set":
      return setMatch(expression, known);
    case "port":
      return [
        ...needProtocol(expression.protocol, known),
        loadPayload(PAYLOAD_BASE.transport, expression.side === "source" ? 0 : 2, 2),
        compare(expression.not, network16(expression.port)),
      ];
    case "tcp-flags":
      return [
        ...needProtocol("tcp", known),
        loadPayload(PAYLOAD_BASE.transport, 13, 1),
        bitwise(Uint8Array.of(expression.mask), Uint8Array.of(0)),
        compare(expression.not, Uint8Array.of(expression.value)),
      ];
    case "mark":
      return [loadMeta(META_KEY.mark), ...maskedCompare(expression)];
    case "connection-mark":
      return [loadConnection(CT_KEY.mark), ...maskedCompare(expression)];
    case "user":
      return [loadMeta(META_KEY.skuid), compare(expression.not, host32(expression.uid))];
    case "random":
      return randomMatch(expression.modulus, expression.below);
    case "counter":
      return [{ name: "counter", attributes: [] }];
    case "set-mark":
      return [immediate(host32(expression.value)), storeMeta(META_KEY.mark)];
    case "set-connection-mark":
      return [
        loadConnection(CT_KEY.mark),
        bitwise(host32(expression.keep & ~expression.value), host32(expression.value)),
        storeConnection(CT_KEY.mark),
      ];
    case "restore-mark":
      return [loadConnection(CT_KEY.mark), storeMeta(META_KEY.mark)];
    case "set-zone":
      return [immediate(host16(expression.zone)), storeConnection(CT_KEY.zone)];
    case "redirect":
      return [
        immediate(network16(expression.port)),
        { name: "redir", attributes: [uint32NetworkAttribute(NFTA.redir.protoMin, REG_1)] },
      ];
    case "dnat":
      return translate("dnat", expression.address, expression.port);
    case "snat":
      return translate("snat", expression.address, undefined);
    case "masquerade":
      return [{ name: "masq", attributes: [] }];
    case "accept":
    case "drop":
    case "return":
      return [verdict(VERDICT[expression.kind])];
    case "jump":
      return [verdict(VERDICT.jump, expression.chain)];
  }
}

function addressMatch(expression: Expression & { kind: "address" }, known: Known): Instruction[] {
  const bytes = ipBytes(expression.address);
  const family = bytes.length === 4 ? "ip" : "ip6";
  const prefix = expression.prefix ?? bytes.length * 8;
  const first = family === "ip" ? 12 : 8;
  const offset = expression.side === "source" ? first : first + bytes.length;
  const mask = prefixMask(prefix, bytes.length);
  return [
    ...needFamily(family, known),
    loadPayload(PAYLOAD_BASE.network, offset, bytes.length),
    ...(prefix === bytes.length * 8 ? [] : [bitwise(mask, new Uint8Array(bytes.length))]),
    compare(
      expression.not,
      bytes.map((byte, i) => byte & (mask[i] ?? 0)),
    ),
  ];
}

function setMatch({ side, set, keys }: Expression & { kind: "in-set" }, known: Known): Instruction[] {
  const { bytes } = SET_KEY[keys];
  const first = keys === "ipv4" ? 12 : 8;
  const { lookup } = NFTA;
  return [
    ...needFamily(keys === "ipv4" ? "ip" : "ip6", known),
    loadPayload(PAYLOAD_BASE.network, side === "source" ? first : first + bytes, bytes),
    { name: "lookup", attributes: [textAttribute(lookup.set, set), uint32NetworkAttribute(lookup.sreg, REG_1)] },
  ];
}

function needFamily(family: "ip" | "ip6", known: Known): Instruction[] {
  if (known.family === family) return [];
  if (known.family !== undefined) throw new Error(`a rule of ${known.family} cannot match an address of ${family}`);
  known.family = family;
  return [loadMeta(META_KEY.nfproto), compare(false, Uint8Array.of(NFPROTO[family]))];
}

function needProtocol(protocol: Protocol, known: Known): Instruction[] {
  if (known.protocol === protocol) return [];
  if (known.protocol !== undefined) throw new Error(`a rule of ${known.protocol} cannot match ${protocol}`);
  known.protocol = protocol;
  return protocolMatch(protocol);
}

function protocolMatch(protocol: Protocol): Instruction[] {
  return [loadMeta(META_KEY.l4proto), compare(false, Uint8Array.of(IPPROTO[protocol]))];
}

function maskedCompare(expression: { mask?: number; value: number; not?: boolean }): Instruction[] {
  const { mask, value, not } = expression;
  return [...(mask === undefined ? [] : [bitwise(host32(mask), host32(0))]), compare(not, host32(value))];
}

/** "Less" compares byte by byte, so the number is turned into network order first. */
function randomMatch(modulus: number, below: number): Instruction[] {
  const { numgen, byteorder, cmp } = NFTA;
  const draw = [
    uint32NetworkAttribute(numgen.dreg, REG_1),
    uint32NetworkAttribute(numgen.modulus, modulus),
    uint32NetworkAttribute(numgen.type, NUMGEN_RANDOM),
    uint32NetworkAttribute(numgen.offset, 0),
  ];
  const swap = [
    uint32NetworkAttribute(byteorder.sreg, REG_1),
    uint32NetworkAttribute(byteorder.dreg, REG_1),
    uint32NetworkAttribute(byteorder.op, BYTEORDER_HTON),
    uint32NetworkAttribute(byteorder.len, 4),
    uint32NetworkAttribute(byteorder.size, 4),
  ];
  const less = [
    uint32NetworkAttribute(cmp.sreg, REG_1),
    uint32NetworkAttribute(cmp.op, CMP_OP.lt),
    value(cmp.data, network32(below)),
  ];
  return [
    { name: "numgen", attributes: draw },
    { name: "byteorder", attributes: swap },
    { name: "cmp", attributes: less },
  ];
}

function translate(type: "dnat" | "snat", address: string, port: number | undefined): Instruction[] {
  const bytes = ipBytes(address);
  const { nat } = NFTA;
  const attributes = [
    uint32NetworkAttribute(nat.type, NAT_TYPE[type]),
    uint32NetworkAttribute(nat.family, bytes.length === 4 ? NFPROTO.ip : NFPROTO.ip6),
    uint32NetworkAttribute(nat.addressMin, REG_1),
  ];
  const load = [immediate(bytes)];
  if (port !== undefined) {
    load.push(immediate(network16(port), REG_2));
    attributes.push(uint32NetworkAttribute(nat.protoMin, REG_2));
  }
  return [...load, { name: "nat", attributes }];
}

function loadMeta(key: number): Instruction {
  const { dreg, key: keyType } = NFTA.meta;
  return { name: "meta", attributes: [uint32NetworkAttribute(keyType, key), uint32NetworkAttribute(dreg, REG_1)] };
}

function storeMeta(key: number): Instruction {
  const { sreg, key: keyType } = NFTA.meta;
  return { name: "meta", attributes: [uint32NetworkAttribute(keyType, key), uint32NetworkAttribute(sreg, REG_1)] };
}

function loadConnection(key: number): Instruction {
  const { dreg, key: keyType } = NFTA.ct;
  return { name: "ct", attributes: [uint32NetworkAttribute(keyType, key), uint32NetworkAttribute(dreg, REG_1)] };
}

function storeConnection(key: number): Instruction {
  const { sreg, key: keyType } = NFTA.ct;
  return { name: "ct", attributes: [uint32NetworkAttribute(keyType, key), uint32NetworkAttribute(sreg, REG_1)] };
}

function loadPayload(base: number, offset: number, length: number): Instruction {
  const { payload } = NFTA;
  const attributes = [
    uint32NetworkAttribute(payload.dreg, REG_1),
    uint32NetworkAttribute(payload.base, base),
    uint32NetworkAttribute(payload.offset, offset),
    uint32NetworkAttribute(payload.len, length),
  ];
  return { name: "payload", attributes };
}

function compare(not: boolean | undefined, bytes: Uint8Array): Instruction {
  const { cmp } = NFTA;
  const attributes = [
    uint32NetworkAttribute(cmp.sreg, REG_1),
    uint32NetworkAttribute(cmp.op, not === true ? CMP_OP.neq : CMP_OP.eq),
    value(cmp.data, bytes),
  ];
  return { name: "cmp", attributes };
}

/** register = (register & mask) ^ xor */
function bitwise(mask: Uint8Array, xor: Uint8Array): Instruction {
  const types = NFTA.bitwise;
  const attributes = [
    uint32NetworkAttribute(types.sreg, REG_1),
    uint32NetworkAttribute(types.dreg, REG_1),
    uint32NetworkAttribute(types.len, mask.length),
    value(types.mask, mask),
    value(types.xor, xor),
  ];
  return { name: "bitwise", attributes };
}

function immediate(bytes: Uint8Array, register = REG_1): Instruction {
  const { dreg, data } = NFTA.immediate;
  return { name: "immediate", attributes: [uint32NetworkAttribute(dreg, register), value(data, bytes)] };
}

function verdict(code: number, chain?: string): Instruction {
  const { dreg, data } = NFTA.immediate;
  const parts = [uint32NetworkAttribute(NFTA_VERDICT_CODE, code)];
  if (chain !== undefined) parts.push(textAttribute(NFTA_VERDICT_CHAIN, chain));
  const attributes = [uint32NetworkAttribute(dreg, REG_VERDICT), nested(data, [nested(NFTA_DATA_VERDICT, parts)])];
  return { name: "immediate", attributes };
}

function value(type: number, bytes: Uint8Array): Uint8Array {
  return nested(type, [attribute(NFTA_DATA_VALUE, bytes)]);
}

function ipBytes(address: string): Uint8Array {
  const bytes = parseIp(address);
  if (bytes === undefined) throw new Error(`${address} is no IP address`);
  return bytes;
}

function prefixMask(prefix: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (0xff00 >> Math.min(8, Math.max(0, prefix - 8 * i))) & 0xff);
}

/** The kernel compares the whole field of 16 bytes (IFNAMSIZ). */
function interfaceName(name: string): Uint8Array {
  const bytes = Buffer.alloc(16);
  if (bytes.write(name) > 15) throw new Error(`${name} is too long for an interface`);
  return bytes;
}

function host16(number: number): Uint8Array {
  return Uint8Array.of(number & 0xff, number >> 8);
}

function host32(number: number): Uint8Array {
  return network32(number).reverse();
}

function network16(number: number): Uint8Array {
  return Uint8Array.of(number >> 8, number & 0xff);
}

function network32(number: number): Uint8Array {
  return Uint8Array.of((number >>> 24) & 0xff, (number >>> 16) & 0xff, (number >>> 8) & 0xff, number & 0xff);
}

const REG_VERDICT = 0;
const REG_1 = 1;
const REG_2 = 2;
