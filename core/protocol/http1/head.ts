/** The lines of an HTTP/1 message's head, as far as its framing and its outcome depend on them (RFC 9112). */

export interface RequestLine {
  readonly kind: "request";
  readonly method: "HEAD" | "CONNECT" | "other";
}

export interface StatusLine {
  readonly kind: "response";
  /** 100 to 999. */
  readonly status: number;
}

/** What the fields of a head say about the body behind it. */
export interface BodyFields {
  contentLength: number | undefined;
  /** The last transfer coding; `other`: one that only the end of the connection ends. */
  coding: "none" | "chunked" | "other";
}

/** Whether a request's line may begin with these octets. Nothing but capitals, `-` and `_` are taken for a method. */
export function mayBeginRequest(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) {
    const octet = bytes[at]!;
    if (octet === space) return at > from;
    if (at - from >= longestMethod || !isMethodOctet(octet)) return false;
  }
  return true;
}

/** The same of a response's. */
export function mayBeginResponse(bytes: Uint8Array, from: number, to: number): boolean {
  return matches(bytes, from, Math.min(to, from + version1.length), version1);
}

/** RFC 9112 3, of HTTP/1.0 and 1.1; undefined for everything else. */
export function parseRequestLine(bytes: Uint8Array, from: number, to: number): RequestLine | undefined {
  const version = to - version1.length - 1;
  if (!mayBeginRequest(bytes, from, to) || version <= from) return undefined;
  if (bytes[version - 1] !== space || !matches(bytes, version, to - 1, version1) || !isMinor(bytes[to - 1]!)) {
    return undefined;
  }
  for (const line of namedMethods) if (matches(bytes, from, from + line.start.length, line.start)) return line.parsed;
  return otherMethod;
}

/** RFC 9112 4, of HTTP/1.0 and 1.1; undefined for everything else. */
export function parseStatusLine(bytes: Uint8Array, from: number, to: number): StatusLine | undefined {
  const code = from + version1.length + 2;
  if (to < code + 3 || !matches(bytes, from, from + version1.length, version1)) return undefined;
  if (!isMinor(bytes[code - 2]!) || bytes[code - 1] !== space) return undefined;
  if (to > code + 3 && bytes[code + 3] !== space) return undefined;
  const [hundreds, tens, ones] = [digit(bytes[code]!), digit(bytes[code + 1]!), digit(bytes[code + 2]!)];
  if (hundreds < 1 || tens < 0 || ones < 0) return undefined;
  return { kind: "response", status: hundreds * 100 + tens * 10 + ones };
}

/** Takes over what a field line says about the body. @returns false where it can't be known any more where the body ends. */
export function readField(bytes: Uint8Array, from: number, to: number, fields: BodyFields): boolean {
  const first = bytes[from]! | 0x20;
  // Two names in a hundred begin like these. A folded line (RFC 9112 5.2) may belong to one of them.
  if (first === letterC) return readContentLength(bytes, from, to, fields);
  if (first === letterT) return readCoding(bytes, from, to, fields);
  return bytes[from] !== space && bytes[from] !== tab;
}

/** Octets of the next chunk (RFC 9112 7.1), -1 for none. */
export function parseChunkSize(bytes: Uint8Array, from: number, to: number): number {
  let size = 0;
  let at = from;
  for (; at < to; at++) {
    const value = hexDigit(bytes[at]!);
    if (value < 0) break;
    size = size * 16 + value;
    if (at - from >= mostHexDigits) return -1;
  }
  if (at === from) return -1;
  const next = bytes[at];
  return at === to || next === semicolon || next === space || next === tab ? size : -1;
}

function readContentLength(bytes: Uint8Array, from: number, to: number, fields: BodyFields): boolean {
  const value = valueAt(bytes, from, to, contentLength);
  if (value <= 0) return value === 0;
  let [at, end] = [value, to];
  while (at < end && isBlank(bytes[at]!)) at++;
  while (end > at && isBlank(bytes[end - 1]!)) end--;
  if (at === end || end - at > mostDigits) return false;
  let length = 0;
  for (; at < end; at++) {
    const next = digit(bytes[at]!);
    if (next < 0) return false;
    length = length * 10 + next;
  }
  if (fields.contentLength !== undefined && fields.contentLength !== length) return false;
  fields.contentLength = length;
  return true;
}

function readCoding(bytes: Uint8Array, from: number, to: number, fields: BodyFields): boolean {
  const value = valueAt(bytes, from, to, transferEncoding);
  if (value <= 0) return value === 0;
  const text = String.fromCharCode(...bytes.subarray(value, Math.min(to, value + longestCodings)));
  fields.coding = /(?:^|,)[ \t]*chunked[ \t]*$/i.test(text) ? "chunked" : "other";
  return true;
}

/** Where a field's value begins; 0 where the line is another field's, -1 where it is this one's and not well-formed. */
function valueAt(bytes: Uint8Array, from: number, to: number, name: Uint8Array): number {
  if (to - from <= name.length) return 0;
  for (let at = 0; at < name.length; at++) if ((bytes[from + at]! | 0x20) !== name[at]) return 0;
  const next = bytes[from + name.length]!;
  if (next === colon) return from + name.length + 1;
  // Some take it for this field all the same (RFC 9112 5.1).
  return isBlank(next) ? -1 : 0;
}

function matches(bytes: Uint8Array, from: number, to: number, text: Uint8Array): boolean {
  if (to > bytes.length) return false;
  for (let at = from; at < to; at++) if (bytes[at] !== text[at - from]) return false;
  return true;
}

function isMethodOctet(octet: number): boolean {
  return (octet >= 0x41 && octet <= 0x5a) || octet === 0x2d || octet === 0x5f;
}

function isMinor(octet: number): boolean {
  return octet === 0x30 || octet === 0x31;
}

function isBlank(octet: number): boolean {
  return octet === space || octet === tab;
}

function digit(octet: number): number {
  return octet >= 0x30 && octet <= 0x39 ? octet - 0x30 : -1;
}

function hexDigit(octet: number): number {
  const letter = octet | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : digit(octet);
}

function octets(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

const version1 = octets("HTTP/1.");
const contentLength = octets("content-length");
const transferEncoding = octets("transfer-encoding");
const namedMethods: readonly { readonly start: Uint8Array; readonly parsed: RequestLine }[] = [
  { start: octets("HEAD "), parsed: { kind: "request", method: "HEAD" } },
  { start: octets("CONNECT "), parsed: { kind: "request", method: "CONNECT" } },
];
const otherMethod: RequestLine = { kind: "request", method: "other" };
const [tab, space, colon, semicolon, letterC, letterT] = [0x09, 0x20, 0x3a, 0x3b, 0x63, 0x74] as const;
/** UPDATEREDIRECTREF is the longest that IANA knows. */
const longestMethod = 20;
const longestCodings = 256;
/** Below 2^53. */
const mostDigits = 15;
const mostHexDigits = 13;
