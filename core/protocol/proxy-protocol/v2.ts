/**
 * PROXY protocol, version 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2): the header before a TCP connection's
 * first byte that says whose connection it is. Encoded for applications behind an application tunnel (agent-wire 1.9).
 */
import { TypedError } from "../../base/errors.ts";
import { formatIp, parseIp, type Endpoint } from "../../base/ip.ts";

/** TCP only. */
export interface ProxyHeader {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly tlvs: readonly ProxyTlv[];
}

export interface ProxyTlv {
  /** 0 to 255; see {@link clientIdentityTlv}. */
  readonly type: number;
  readonly value: Uint8Array;
}

/** What a reader makes of the bytes so far. */
export type ProxyReading =
  | { readonly kind: "header"; readonly header: ProxyHeader; readonly length: number }
  /** The sender speaks for itself (a health check): no addresses count. */
  | { readonly kind: "local"; readonly length: number }
  /** At least so many bytes in all are needed to go on. */
  | { readonly kind: "incomplete"; readonly needed: number };

export class ProxyProtocolError extends TypedError<
  | { readonly code: "proxy-protocol.signature" }
  | { readonly code: "proxy-protocol.version"; readonly version: number }
  | { readonly code: "proxy-protocol.command"; readonly command: number }
  | { readonly code: "proxy-protocol.family"; readonly family: number } // the byte of family and transport
  | { readonly code: "proxy-protocol.length"; readonly length: number } // too short for its addresses, or more than 16 bits
  | { readonly code: "proxy-protocol.tlv"; readonly at: number } // an offset into the header
  | { readonly code: "proxy-protocol.address"; readonly address: string }
> {}

/** The SPIFFE URI that the client's certificate proved, as UTF-8 text; of the range for custom use (2.2.9). */
export const clientIdentityTlv = 0xd0;

/** The TLV that names the client. */
export function clientIdentity(uri: string): ProxyTlv {
  return { type: clientIdentityTlv, value: new TextEncoder().encode(uri) };
}

/**
 * The header's bytes. One header has one address family: where the two ends differ, the IPv4 one is written as ::ffff:a.b.c.d,
 * so that nothing is lost.
 */
export function encodeProxyHeader({ source, destination, tlvs }: ProxyHeader): Uint8Array | ProxyProtocolError {
  const [from, to] = [parseIp(source.address), parseIp(destination.address)];
  if (from === undefined) return badAddress(source.address);
  if (to === undefined) return badAddress(destination.address);
  const size = from.length === 4 && to.length === 4 ? 4 : 16;
  let length = 2 * size + 4;
  for (const { value } of tlvs) length += 3 + value.length;
  if (length > 0xffff) return new ProxyProtocolError({ code: "proxy-protocol.length", length });

  const bytes = new Uint8Array(headBytes + length);
  const view = new DataView(bytes.buffer);
  bytes.set(signature);
  bytes[12] = (2 << 4) | proxyCommand;
  bytes[13] = size === 4 ? tcpOverIpv4 : tcpOverIpv6;
  view.setUint16(14, length);
  bytes.set(widened(from, size), headBytes);
  bytes.set(widened(to, size), headBytes + size);
  view.setUint16(headBytes + 2 * size, source.port);
  view.setUint16(headBytes + 2 * size + 2, destination.port);
  let at = headBytes + 2 * size + 4;
  for (const { type, value } of tlvs) {
    view.setUint8(at, type);
    view.setUint16(at + 1, value.length);
    bytes.set(value, at + 3);
    at += 3 + value.length;
  }
  return bytes;
}

/** Reads a header off the front of a connection. Strict: what cannot be understood in full is an error, never half an answer. */
export function decodeProxyHeader(bytes: Uint8Array): ProxyReading | ProxyProtocolError {
  const seen = Math.min(bytes.length, signature.length);
  for (let at = 0; at < seen; at++) {
    if (bytes[at] !== signature[at]) return new ProxyProtocolError({ code: "proxy-protocol.signature" });
  }
  if (bytes.length < headBytes) return { kind: "incomplete", needed: headBytes };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint8(12) >> 4;
  if (version !== 2) return new ProxyProtocolError({ code: "proxy-protocol.version", version });
  const command = view.getUint8(12) & 0xf;
  if (command > proxyCommand) return new ProxyProtocolError({ code: "proxy-protocol.command", command });
  const end = headBytes + view.getUint16(14);
  if (bytes.length < end) return { kind: "incomplete", needed: end };
  if (command === localCommand) return { kind: "local", length: end };

  const family = view.getUint8(13);
  if (family !== tcpOverIpv4 && family !== tcpOverIpv6) {
    return new ProxyProtocolError({ code: "proxy-protocol.family", family });
  }
  const size = family === tcpOverIpv4 ? 4 : 16;
  const addressesEnd = headBytes + 2 * size + 4;
  if (end < addressesEnd) return new ProxyProtocolError({ code: "proxy-protocol.length", length: end - headBytes });
  const tlvs = readTlvs(bytes, view, addressesEnd, end);
  if (tlvs instanceof ProxyProtocolError) return tlvs;
  const endpoint = (index: 0 | 1): Endpoint => ({
    address: formatIp(bytes.subarray(headBytes + index * size, headBytes + (index + 1) * size)) ?? "",
    port: view.getUint16(headBytes + 2 * size + 2 * index),
  });
  return { kind: "header", header: { source: endpoint(0), destination: endpoint(1), tlvs }, length: end };
}

function readTlvs(bytes: Uint8Array, view: DataView, from: number, end: number): ProxyTlv[] | ProxyProtocolError {
  const tlvs: ProxyTlv[] = [];
  let at = from;
  while (at < end) {
    const valueAt = at + 3;
    const next = valueAt <= end ? valueAt + view.getUint16(at + 1) : Infinity;
    if (next > end) return new ProxyProtocolError({ code: "proxy-protocol.tlv", at });
    tlvs.push({ type: view.getUint8(at), value: Uint8Array.from(bytes.subarray(valueAt, next)) });
    at = next;
  }
  return tlvs;
}

/** 4 bytes as the 16 of an IPv4-mapped address, where that is what the header has room for. */
function widened(address: Uint8Array, size: number): Uint8Array {
  if (address.length === size) return address;
  const wide = new Uint8Array(16);
  wide[10] = wide[11] = 0xff;
  wide.set(address, 12);
  return wide;
}

function badAddress(address: string): ProxyProtocolError {
  return new ProxyProtocolError({ code: "proxy-protocol.address", address: address.slice(0, 64) });
}

const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
/** Signature, version and command, family and transport, length. */
const headBytes = 16;
const localCommand = 0;
const proxyCommand = 1;
const tcpOverIpv4 = 0x11;
const tcpOverIpv6 = 0x21;
