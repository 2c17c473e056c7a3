/**
 * A DNS message as far as a proxy has to know it, read strictly and without copying: the header, the one question, the OPT record. The rest is
 * bytes that pass. Every walk goes forward only, and names of records are skipped, not followed: a pointer that loops costs two bytes.
 */
import { classIn, headerFlags, headerLength, longestName, opcodes, rcodes, types } from "./constants.ts";

/** A query with one question, from whoever. */
export interface DnsQuery {
  readonly kind: "query";
  readonly id: number;
  /** Recursion desired, and checking disabled: an answer repeats them. */
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  readonly question: DnsQuestion;
  readonly edns: Edns | undefined;
  /** A question of class IN and nothing else but an OPT record: whoever owns the name may answer. Signed queries and transfers are not plain. */
  readonly isPlain: boolean;
}

export interface DnsQuestion {
  /** In lower case, without the last dot; undefined for one with bytes that no host name has, and for the root. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  /** Offset behind the question, which begins at {@link headerLength}. */
  readonly end: number;
}

/** EDNS(0), RFC 6891. */
export interface Edns {
  /** What the client takes over UDP, as it said so. */
  readonly payload: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

/** What is no plain query, and what becomes of it. */
export type Unusual =
  /** NOTIFY or UPDATE: well-formed, and only its addressee can say anything about it. */
  | { readonly kind: "opaque"; readonly id: number }
  /** To be answered with this code, and nothing more. */
  | { readonly kind: "refused"; readonly rcode: number; readonly because: Fault }
  /** Not to be answered: two that answer answers would do so for ever. */
  | { readonly kind: "dropped"; readonly because: "too short" | "a response" };

export type Fault = "opcode" | "question count" | "question" | "records" | "second OPT" | "too long";

/** @param bytes one whole message, without TCP's length in front. */
export function viewQuery(bytes: Uint8Array): DnsQuery | Unusual {
  if (bytes.length < headerLength) return { kind: "dropped", because: "too short" };
  const flags = word(bytes, 2);
  if ((flags & headerFlags.response) !== 0) return { kind: "dropped", because: "a response" };
  const opcode = (flags >> 11) & 0xf;
  if (opcode === opcodes.notify || opcode === opcodes.update) return viewOpaque(bytes);
  if (opcode !== opcodes.query) return refused(rcodes.notImplemented, "opcode");
  if (bytes.length > longestQuery) return refused(rcodes.formatError, "too long");
  if (word(bytes, 4) !== 1) return refused(rcodes.formatError, "question count");
  const question = readQuestion(bytes);
  if (question === undefined) return refused(rcodes.formatError, "question");
  const before = word(bytes, 6) + word(bytes, 8);
  const additional = word(bytes, 10);
  const records = readRecords(bytes, question.end, before + additional);
  if (typeof records === "string") return refused(rcodes.formatError, records);
  return {
    kind: "query",
    id: word(bytes, 0),
    recursionDesired: (flags & headerFlags.recursionDesired) !== 0,
    checkingDisabled: (flags & headerFlags.checkingDisabled) !== 0,
    question,
    edns: records.edns,
    isPlain:
      question.class === classIn &&
      (flags & headerFlags.truncated) === 0 &&
      before === 0 &&
      additional === (records.edns === undefined ? 0 : 1),
  };
}

/**
 * Whether this is the answer to that query, as sent: same id, opcode and question (upper and lower case are one, RFC 4343). An error may come
 * without a question, as from a server that could not read one.
 */
export function isAnswerTo(query: Uint8Array, reply: Uint8Array): boolean {
  if (reply.length < headerLength || word(reply, 0) !== word(query, 0)) return false;
  const flags = word(reply, 2);
  if ((flags & headerFlags.response) === 0 || ((flags ^ word(query, 2)) & headerFlags.opcode) !== 0) return false;
  const questions = word(reply, 4);
  if (questions === 0) return (flags & 0xf) !== rcodes.noError || word(query, 4) === 0;
  if (questions !== word(query, 4)) return false;
  const end = questionEnd(query);
  if (end === undefined || reply.length < end) return false;
  for (let at = headerLength; at < end; at++) {
    if (lowered(query[at] ?? 0) !== lowered(reply[at] ?? 0)) return false;
  }
  return true;
}

/** A copy under another id: all that ever changes in what passes. */
export function withId(bytes: Uint8Array, id: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[0] = id >> 8;
  copy[1] = id & 0xff;
  return copy;
}

/** @param bytes of at least a header. */
export function idOf(bytes: Uint8Array): number {
  return word(bytes, 0);
}

/** Offset behind the first question; undefined where there is none, or it is none. */
export function questionEnd(bytes: Uint8Array): number | undefined {
  if (bytes.length < headerLength || word(bytes, 4) !== 1) return undefined;
  const end = nameEnd(bytes, headerLength, "no pointers");
  return end === undefined || end + 4 > bytes.length ? undefined : end + 4;
}

function viewOpaque(bytes: Uint8Array): Unusual {
  if (word(bytes, 4) !== 1) return refused(rcodes.formatError, "question count");
  if (readQuestion(bytes) === undefined) return refused(rcodes.formatError, "question");
  return { kind: "opaque", id: word(bytes, 0) };
}

function readQuestion(bytes: Uint8Array): DnsQuestion | undefined {
  const end = questionEnd(bytes);
  if (end === undefined) return undefined;
  return { name: nameText(bytes, headerLength), type: word(bytes, end - 4), class: word(bytes, end - 2), end };
}

/** Walks over all records behind the question. What follows them is the addressee's business. */
function readRecords(bytes: Uint8Array, from: number, count: number): { readonly edns: Edns | undefined } | Fault {
  let edns: Edns | undefined;
  let at = from;
  for (let left = count; left > 0; left--) {
    const fixed = nameEnd(bytes, at, "pointers");
    // TYPE, CLASS, TTL, RDLENGTH
    if (fixed === undefined || fixed + 10 > bytes.length) return "records";
    const end = fixed + 10 + word(bytes, fixed + 8);
    if (end > bytes.length) return "records";
    if (word(bytes, fixed) === types.OPT) {
      if (edns !== undefined) return "second OPT";
      if (fixed !== at + 1) return "records";
      edns = {
        payload: word(bytes, fixed + 2),
        version: bytes[fixed + 5] ?? 0,
        dnssecOk: ((bytes[fixed + 6] ?? 0) & 0x80) !== 0,
      };
    }
    at = end;
  }
  return { edns };
}

/** Offset behind a name; undefined where it is none. A pointer ends it (RFC 1035 4.1.4), and is not looked behind. */
function nameEnd(bytes: Uint8Array, from: number, pointers: "pointers" | "no pointers"): number | undefined {
  let at = from;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return at + 1 - from <= longestName ? at + 1 : undefined;
    if (length >= pointerMark) return pointers === "pointers" && at + 2 <= bytes.length ? at + 2 : undefined;
    if (length > longestLabel) return undefined;
    at += 1 + length;
    if (at - from >= longestName) return undefined;
  }
}

/** @param from of a name that ends and has no pointers. */
function nameText(bytes: Uint8Array, from: number): string | undefined {
  let text = "";
  let at = from;
  for (;;) {
    const length = bytes[at] ?? 0;
    if (length === 0) return text === "" ? undefined : text;
    if (text !== "") text += ".";
    for (let i = at + 1; i <= at + length; i++) {
      const byte = lowered(bytes[i] ?? 0);
      // A dot inside a label, a space, anything beyond ASCII: no host is called so.
      if (byte <= 0x20 || byte >= 0x7f || byte === 0x2e) return undefined;
      text += String.fromCharCode(byte);
    }
    at += 1 + length;
  }
}

function refused(rcode: number, because: Fault): Unusual {
  return { kind: "refused", rcode, because };
}

function lowered(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** A name of 255 bytes and a few options: what is longer is held back, so that those in flight are not a place to store things. */
const longestQuery = 4_096;
const longestLabel = 63;
/** 0xc0: a pointer. What lies between it and a label's length is reserved. */
const pointerMark = 0xc0;
