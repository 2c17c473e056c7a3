/** What a descriptor that somebody handed us really is: asked of the kernel, because a message beside it can say anything. */
import { closeSync, fstatSync } from "node:fs";
import type { LinuxError } from "./errno.ts";
import { AF_INET, AF_INET6, libc, SOCK_CLOEXEC, SOCK_STREAM, SOL_IP, SOL_IPV6, SOL_SOCKET } from "./libc.ts";
import { inNamespace, namespaceIdentity } from "./namespace.ts";
import { decodeSocketAddress, SOCKADDR_IN6 } from "./socket-address.ts";
import { setOption } from "./sockets.ts";

/** A TCP socket that listens, or a UDP socket that is bound. */
export interface ListeningSocket {
  readonly protocol: "tcp" | "udp";
  /** Canonical text; undefined for every address. */
  readonly address: string | undefined;
  readonly port: number;
  /** It has IP_TRANSPARENT. */
  readonly transparent: boolean;
  /** The user id that made it. */
  readonly owner: number;
}

/** @returns undefined for anything else: a connected socket, what is no socket and no descriptor included. */
export function inspectListener(fd: number): ListeningSocket | undefined {
  const family = option(fd, SOL_SOCKET, SO_DOMAIN);
  const ipv6 = family === AF_INET6;
  if (!ipv6 && family !== AF_INET) return undefined;
  const protocol = protocols.get(option(fd, SOL_SOCKET, SO_PROTOCOL));
  if (protocol === undefined || (protocol === "tcp" && option(fd, SOL_SOCKET, SO_ACCEPTCONN) !== 1)) return undefined;
  const own = Buffer.alloc(SOCKADDR_IN6);
  if (libc.getsockname(fd, own, Int32Array.of(own.length)) !== 0) return undefined;
  const { address, port } = decodeSocketAddress(own) ?? { address: "", port: 0 };
  if (port === 0 || (protocol === "udp" && isConnected(fd))) return undefined;
  const transparent = ipv6 ? option(fd, SOL_IPV6, IPV6_TRANSPARENT) : option(fd, SOL_IP, IP_TRANSPARENT);
  return {
    protocol,
    address: address === "::" || address === "0.0.0.0" ? undefined : address,
    port,
    transparent: transparent === 1,
    owner: fstatSync(fd).uid,
  };
}

/** Nobody but its peer could reach it. */
function isConnected(fd: number): boolean {
  return libc.getpeername(fd, Buffer.alloc(SOCKADDR_IN6), Int32Array.of(SOCKADDR_IN6)) === 0;
}

/** Whether a socket belongs to the network namespace behind another descriptor. Nothing that can't be told is true. */
export function isSocketIn(fd: number, netns: number): boolean {
  const cookie = cookieOf(fd);
  if (cookie !== undefined) return cookie === cookieIn(netns);
  // A kernel before 5.14. This way needs CAP_NET_ADMIN in the socket's namespace.
  const own = libc.ioctl(fd, SIOCGSKNS, 0);
  if (own < 0) return false;
  const [a, b] = [namespaceIdentity(own), namespaceIdentity(netns)];
  closeSync(own);
  return a.dev === b.dev && a.ino === b.ino;
}

/** SO_MARK of a socket that exists already; for a listener it counts for what it accepts from now on. */
export function markSocket(fd: number, mark: number): LinuxError | undefined {
  return setOption(fd, SOL_SOCKET, SO_MARK, mark);
}

function cookieIn(netns: number): bigint | undefined {
  const fd = inNamespace(netns, () => libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd < 0) return undefined;
  const cookie = cookieOf(fd);
  libc.close(fd);
  return cookie;
}

function cookieOf(fd: number): bigint | undefined {
  const cookie = Buffer.alloc(8);
  if (libc.getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, Int32Array.of(8)) !== 0) return undefined;
  return cookie.readBigUInt64LE();
}

function option(fd: number, level: number, name: number): number | undefined {
  const value = Int32Array.of(-1);
  return libc.getsockopt(fd, level, name, value, Int32Array.of(4)) === 0 ? value[0] : undefined;
}

const protocols: ReadonlyMap<number | undefined, ListeningSocket["protocol"]> = new Map([
  [6, "tcp"],
  [17, "udp"],
]);

// asm-generic/socket.h, linux/in.h, linux/in6.h, linux/sockios.h
const SO_ACCEPTCONN = 30;
const SO_MARK = 36;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
const SO_NETNS_COOKIE = 71;
const IP_TRANSPARENT = 19;
const IPV6_TRANSPARENT = 75;
const SIOCGSKNS = 0x894c;
