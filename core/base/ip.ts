/** IP addresses in one canonical form: IPv4 dotted, IPv6 as RFC 5952 writes it, IPv4-mapped IPv6 as IPv4. Canonical text is what maps are keyed by. */
import { isIPv4, isIPv6 } from "node:net";
import { Memo } from "./memo.ts";

/** An address and a TCP port, both as read from a socket after canonicalisation. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** Canonical text of an address given as text, or undefined where it is none (a zone id is none). */
export function canonicalIp(text: string): string | undefined {
  return canonical.of(text);
}

/** Canonical text of an address as a socket tells it: without the zone of a link-local one, which means nothing but to its own link. */
export function socketIp(text: string): string | undefined {
  const zone = text.indexOf("%");
  return canonicalIp(zone < 0 ? text : text.slice(0, zone));
}

/** One end of a socket as that tells it; undefined once it is gone. */
export function socketEndpoint(text: string | undefined, port: number | undefined): Endpoint | undefined {
  const address = text === undefined ? undefined : socketIp(text);
  return address === undefined || port === undefined ? undefined : { address, port };
}

/** 4 or 16 bytes in network order, not to be written to; IPv4-mapped IPv6 becomes 4 bytes. */
export function parseIp(text: string): Uint8Array | undefined {
  return parsed.of(text);
}

/** Canonical text of 4 or 16 bytes, or undefined for any other length. */
export function formatIp(bytes: Uint8Array): string | undefined {
  if (bytes.length !== 4 && bytes.length !== 16) return undefined;
  const plain = unmap(bytes);
  return plain.length === 4 ? plain.join(".") : formatIpv6(plain);
}

/** `1.2.3.4:80` or `[fd00::1]:80`. */
export function formatEndpoint(endpoint: Endpoint): string {
  return endpoint.address.includes(":")
    ? `[${endpoint.address}]:${endpoint.port}`
    : `${endpoint.address}:${endpoint.port}`;
}

/** The opposite of formatEndpoint; undefined where the text is no address and port. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, bracketed, plain, port = ""] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
  const address = canonicalIp(bracketed ?? plain ?? "");
  return address === undefined || Number(port) > 65_535 ? undefined : { address, port: Number(port) };
}

/** Whether the first `length` bits of both agree. Different families never do. */
export function inPrefix(address: Uint8Array, prefix: Uint8Array, length: number): boolean {
  if (address.length !== prefix.length || length > prefix.length * 8) return false;
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== prefix[i]) return false;
  const rest = length & 7;
  if (rest === 0) return true;
  return ((address[whole] ?? 0) ^ (prefix[whole] ?? 0)) >> (8 - rest) === 0;
}

export function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}

function parse(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  if (!isIPv6(text) || text.includes("%")) return undefined;
  return unmap(parseIpv6(text));
}

function parseIpv6(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const [head = "", tail] = text.split("::");
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  bytes.set(left, 0);
  bytes.set(right, 16 - right.length);
  return bytes;
}

function groups(part: string): number[] {
  if (part === "") return [];
  return part.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

function formatIpv6(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && words[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: number[]): string => part.map((word) => word.toString(16)).join(":");
  if (best.start < 0) return hex(words);
  return `${hex(words.slice(0, best.start))}::${hex(words.slice(best.start + best.length))}`;
}

function unmap(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== 16 || bytes[10] !== 0xff || bytes[11] !== 0xff) return bytes;
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return bytes;
  return bytes.slice(12);
}

/** The same few addresses come with every connection. */
const mostKept = 2_048;
const longestKept = 64;
const parsed = new Memo(parse, mostKept, longestKept);
const canonical = new Memo(
  (text: string) => {
    const bytes = parse(text);
    return bytes === undefined ? undefined : formatIp(bytes);
  },
  mostKept,
  longestKept,
);
