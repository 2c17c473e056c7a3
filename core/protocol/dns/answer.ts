/** Answers that we give ourselves: addresses of names that we own, and refusals. Names point into the question, so its case is repeated. */
import { parseIp } from "../../base/ip.ts";
import {
  classIn,
  headerFlags,
  headerLength,
  longestName,
  messageLimit,
  plainUdpLimit,
  rcodes,
  types,
} from "./constants.ts";
import { questionEnd, type DnsQuery, type Edns } from "./message-view.ts";

export interface AddressAnswer {
  /** The query as it came, and as it was read. */
  readonly bytes: Uint8Array;
  readonly query: DnsQuery;
  /** Canonical text, all of the family that was asked for. None: the name is ours, and has no such record. */
  readonly addresses: readonly string[];
  /** Labels of the question's name that make the canonical name; the rest was a search domain. undefined: the name is as it was asked for. */
  readonly canonicalLabels?: number;
  readonly ttlSeconds: number;
  /** Bytes that the client takes: {@link udpLimit}, or everything over TCP. */
  readonly limit: number;
}

/** An authoritative answer; what has no room is left out, and TC says so. */
export function addressAnswer(answer: AddressAnswer): Uint8Array {
  const { bytes, query, addresses, canonicalLabels, ttlSeconds, limit } = answer;
  if (query.edns !== undefined && query.edns.version > 0) return refusal(bytes, rcodes.badVersion, query);
  const room = Math.min(limit, messageLimit) - (query.edns === undefined ? 0 : optLength);
  const most = query.question.end + 12 + longestName + addresses.length * longestAddressRecord + optLength;
  const out = Buffer.alloc(Math.min(most, messageLimit));
  let at = writeQuestion(out, bytes, query.question.end);
  let owner = headerLength;
  let records = 0;
  if (canonicalLabels !== undefined) {
    const name = leadingLabels(bytes, canonicalLabels);
    if (at + 12 + name.length <= room) {
      at = writeRecord(out, at, owner, types.CNAME, ttlSeconds, name);
      owner = at - name.length;
      records++;
    }
  }
  let truncated = false;
  for (const address of addresses) {
    const ip = parseIp(address);
    if (ip === undefined) continue;
    truncated = at + 12 + ip.length > room;
    if (truncated) break;
    at = writeRecord(out, at, owner, query.question.type, ttlSeconds, ip);
    records++;
  }
  out.writeUInt16BE(records, 6);
  if (query.edns !== undefined) {
    at = writeOpt(out, at, query.edns, 0);
    out.writeUInt16BE(1, 10);
  }
  // A client over TCP can't come back another way: it gets what there is room for.
  const flags = flagsOf(query, rcodes.noError) | headerFlags.authoritative;
  out.writeUInt16BE(truncated && limit < messageLimit ? flags | headerFlags.truncated : flags, 2);
  return out.subarray(0, at);
}

/**
 * A message that says no: the question is repeated where there is one.
 * @param query as far as it could be read.
 * @param words why, for whoever looks (RFC 8914: only a client with EDNS can be told); at most 64 characters of ASCII.
 */
export function refusal(
  bytes: Uint8Array,
  rcode: number,
  query?: Pick<DnsQuery, "recursionDesired" | "checkingDisabled" | "edns">,
  words?: { readonly infoCode: number; readonly text: string },
): Uint8Array {
  const end = questionEnd(bytes) ?? headerLength;
  const option = words === undefined ? empty : extendedError(words.infoCode, words.text);
  const out = Buffer.alloc(end + optLength + option.length);
  let at = writeQuestion(out, bytes, end);
  const opcode = ((bytes[2] ?? 0) << 8) & headerFlags.opcode;
  const desired = ((bytes[2] ?? 0) & 1) << 8;
  const flags = query === undefined ? headerFlags.response | desired | (rcode & 0xf) : flagsOf(query, rcode);
  out.writeUInt16BE(flags | opcode, 2);
  if (query?.edns !== undefined) {
    at = writeOpt(out, at, query.edns, rcode >> 4, option);
    out.writeUInt16BE(1, 10);
  }
  return out.subarray(0, at);
}

/** What this client takes over UDP, and never more than passes through anything on the way. */
export function udpLimit(edns: Edns | undefined): number {
  return Math.min(Math.max(edns?.payload ?? plainUdpLimit, plainUdpLimit), longestUdpAnswer);
}

/** INFO-CODEs of extended errors (RFC 8914 section 4). */
export const extendedErrors = { other: 0, notReady: 14, noReachableAuthority: 22, networkError: 23 } as const;

function flagsOf(query: Pick<DnsQuery, "recursionDesired" | "checkingDisabled">, rcode: number): number {
  return (
    headerFlags.response |
    headerFlags.recursionAvailable |
    (query.recursionDesired ? headerFlags.recursionDesired : 0) |
    (query.checkingDisabled ? headerFlags.checkingDisabled : 0) |
    (rcode & 0xf)
  );
}

/** Id and question; everything else of the header is zero. */
function writeQuestion(out: Buffer, bytes: Uint8Array, end: number): number {
  out.set(bytes.subarray(0, 2), 0);
  out.writeUInt16BE(end > headerLength ? 1 : 0, 4);
  out.set(bytes.subarray(headerLength, end), headerLength);
  return end;
}

/** @param owner offset of the record's name. */
function writeRecord(out: Buffer, at: number, owner: number, type: number, ttl: number, data: Uint8Array): number {
  out.writeUInt16BE(0xc000 | owner, at);
  out.writeUInt16BE(type, at + 2);
  out.writeUInt16BE(classIn, at + 4);
  out.writeUInt32BE(ttl, at + 6);
  out.writeUInt16BE(data.length, at + 10);
  out.set(data, at + 12);
  return at + 12 + data.length;
}

/** The client's own payload size and DO bit come back, as version 0. */
function writeOpt(out: Buffer, at: number, edns: Edns, extendedRcode: number, options: Uint8Array = empty): number {
  out[at] = 0;
  out.writeUInt16BE(types.OPT, at + 1);
  out.writeUInt16BE(Math.max(edns.payload, plainUdpLimit), at + 3);
  out[at + 5] = extendedRcode;
  out[at + 6] = 0;
  out.writeUInt16BE(edns.dnssecOk ? 0x8000 : 0, at + 7);
  out.writeUInt16BE(options.length, at + 9);
  out.set(options, at + optLength);
  return at + optLength + options.length;
}

function extendedError(infoCode: number, text: string): Uint8Array {
  const words = Buffer.from(text.slice(0, 64), "latin1");
  const option = Buffer.alloc(6 + words.length);
  option.writeUInt16BE(15, 0);
  option.writeUInt16BE(2 + words.length, 2);
  option.writeUInt16BE(infoCode, 4);
  option.set(words, 6);
  return option;
}

/** The first labels of the question's name as a name of its own. */
function leadingLabels(bytes: Uint8Array, count: number): Uint8Array {
  let at = headerLength;
  for (let left = count; left > 0; left--) at += 1 + (bytes[at] ?? 0);
  const name = new Uint8Array(at - headerLength + 1);
  name.set(bytes.subarray(headerLength, at));
  return name;
}

const empty = new Uint8Array(0);
/** An OPT record without options. */
const optLength = 11;
const longestUdpAnswer = 4_096;
/** Twelve bytes and an IPv6 address. */
const longestAddressRecord = 28;
