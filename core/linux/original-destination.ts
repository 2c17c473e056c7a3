/** Where a redirected connection was going before nf_tables' REDIRECT rewrote its destination (conntrack remembers). */
import type { Endpoint } from "../base/ip.ts";
import { lastError, namedError, type LinuxError } from "./errno.ts";
import { libc, SOL_IP, SOL_IPV6 } from "./libc.ts";
import { decodeSocketAddress, SOCKADDR_IN6 } from "./socket-address.ts";
import { descriptorOf } from "./sockets.ts";

/**
 * The destination that the peer connected to: the IPv4 answer, else the IPv6 answer, else the socket's own local address
 * (nothing was rewritten: the connection came here directly or by a transparent socket).
 * ENOTCONN when it has been closed meanwhile.
 */
export function originalDestination(socket: object): Endpoint | LinuxError {
  const fd = descriptorOf(socket);
  if (fd === undefined) return namedError("getsockopt", "ENOTCONN", "SO_ORIGINAL_DST");
  return ask(fd, SOL_IP, SO_ORIGINAL_DST) ?? ask(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST) ?? localAddress(fd);
}

function ask(fd: number, level: number, name: number): Endpoint | undefined {
  length[0] = address.length;
  return libc.getsockopt(fd, level, name, address, length) === 0 ? decodeSocketAddress(address) : undefined;
}

function localAddress(fd: number): Endpoint | LinuxError {
  length[0] = address.length;
  if (libc.getsockname(fd, address, length) !== 0) return lastError("getsockname");
  return decodeSocketAddress(address) ?? namedError("getsockname", "EAFNOSUPPORT");
}

const address = new Uint8Array(SOCKADDR_IN6);
const length = new Int32Array(1);

// linux/netfilter_ipv4.h, linux/netfilter_ipv6/ip6_tables.h
const SO_ORIGINAL_DST = 80;
const IP6T_SO_ORIGINAL_DST = 80;
