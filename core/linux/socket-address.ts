/** struct sockaddr_in and sockaddr_in6 as bytes (ip(7), ipv6(7)): the family in the host's order, the port in the network's. */
import { formatIp, parseIp, type Endpoint } from "../base/ip.ts";
import { AF_INET, AF_INET6 } from "./libc.ts";

/** @returns undefined where the text is no IP address. */
export function encodeSocketAddress(address: string, port: number): Uint8Array | undefined {
  const ip = address === "::" ? new Uint8Array(16) : parseIp(address);
  if (ip === undefined) return undefined;
  const bytes = Buffer.alloc(ip.length === 4 ? SOCKADDR_IN : SOCKADDR_IN6);
  bytes.writeUInt16LE(ip.length === 4 ? AF_INET : AF_INET6, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.set(ip, ip.length === 4 ? 4 : 8);
  return bytes;
}

/** @returns undefined for any other family. An IPv4-mapped address comes out as IPv4. */
export function decodeSocketAddress(bytes: Uint8Array): Endpoint | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = view.readUInt16LE(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const ip = family === AF_INET ? view.subarray(4, 8) : view.subarray(8, 24);
  const address = formatIp(ip);
  return address === undefined ? undefined : { address, port: view.readUInt16BE(2) };
}

/** Room for either. */
export const SOCKADDR_IN6 = 28;
const SOCKADDR_IN = 16;
