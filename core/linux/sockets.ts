/**
 * TCP sockets with what Node's own `net` has no word for: another network namespace, a mark, an address that isn't ours.
 * A socket belongs to the namespace it was made in; once it is made, all of its I/O is Node's.
 */
import { Socket, type SocketConstructorOpts } from "node:net";
import type { Endpoint } from "../base/ip.ts";
import { BareSocket } from "./bare-socket.ts";
import { BareStream } from "./bare-stream.ts";
import { lastError, LinuxError } from "./errno.ts";
import { lendingSocket } from "./lent-reads.ts";
import {
  AF_INET6,
  AF_INET,
  libc,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
} from "./libc.ts";
import { inNamespaceOf } from "./namespace.ts";
import { encodeSocketAddress } from "./socket-address.ts";

export interface ListenOptions {
  /** Descriptor of the namespace to listen in; the thread's own when missing. */
  readonly netns?: number | undefined;
  /** "::" accepts IPv4 too, or IPv4 only where the kernel has no IPv6; "0.0.0.0"; or one address. */
  readonly address: string;
  readonly port: number;
  /** Connections that wait for accept. Default 128. */
  readonly backlog?: number;
  /** SO_MARK: what it sends, SYN-ACKs included, and what is accepted from it carries this mark. */
  readonly mark?: number;
  /** IP_TRANSPARENT, so that it takes connections to addresses that aren't ours. Tried; the result says whether it worked. */
  readonly transparent?: boolean;
  /** Of what is accepted. */
  readonly keepAlive?: KeepAlive;
  /** IP_FREEBIND: an address that isn't there (yet) may be bound. */
  readonly freebind?: boolean;
  /** SO_REUSEPORT: others that set it too may listen beside this socket, and take some of its connections. */
  readonly sharePort?: boolean;
}

export interface Listener {
  readonly fd: number;
  readonly transparent: boolean;
}

export interface KeepAlive {
  readonly idleSeconds: number;
  readonly intervalSeconds: number;
  readonly probes: number;
  /** TCP_USER_TIMEOUT: milliseconds that sent bytes may stay unacknowledged. */
  readonly userTimeoutMs?: number;
}

export interface ConnectOptions {
  readonly netns?: number | undefined;
  readonly remote: Endpoint;
  /**
   * Where to connect from; the port is chosen by the kernel at connect time unless one is given. One that is given may be that of another
   * connection elsewhere: EADDRNOTAVAIL if both go to the same destination, EADDRINUSE if somebody listens there.
   */
  readonly local?: { readonly address: string; readonly port?: number };
  readonly mark?: number;
  /** The local address isn't one of this namespace: IP_TRANSPARENT and IP_FREEBIND (needs CAP_NET_ADMIN there). */
  readonly transparent?: boolean;
  readonly keepAlive?: KeepAlive;
  /** It reads into a buffer of the thread's: @see readBy. */
  readonly lendsReads?: boolean;
}

/**
 * A listening socket, non-blocking and close-on-exec; unless told otherwise without SO_REUSEPORT: nobody else can join its port.
 * Serve it by `net.createServer({allowHalfOpen: true, pauseOnConnect: true}).listen({fd})`, each worker on its own duplicate.
 */
export function listenTcp(options: ListenOptions): Listener | LinuxError {
  return inNamespaceOf(options.netns, () => listenHere(options));
}

/**
 * Connects like `net.connect`: the socket emits 'connect' or 'error', what fails at once included. Half-open is allowed and
 * Nagle is off. Nothing is read before somebody asks (manualStart).
 */
export function connectTcp(options: ConnectOptions): Socket {
  const made = inNamespaceOf(options.netns, () => connectingSocket(options));
  if (made instanceof LinuxError) return failedSocket(made);
  const socket = options.lendsReads === true ? lendingSocket({ fd: made }) : plainSocket(made);
  // The addresses are literal: nothing is looked up, and the one socket is tried once.
  const { address: host, port } = options.remote;
  return socket.connect({ host, port, autoSelectFamily: false, family: host.includes(":") ? 6 : 4 });
}

/**
 * As {@link connectTcp}, without net.Socket.
 * @param connected hears once, later: why not, and then the socket is closed. Not called for what is returned, nor after `destroy`.
 */
export function connectBare(options: ConnectOptions, connected: (error?: LinuxError) => void): BareSocket | LinuxError {
  const made = inNamespaceOf(options.netns, () => connectingSocket(options));
  return made instanceof LinuxError ? made : BareSocket.connecting(made, options.remote, connected);
}

/** Whether an interface of that namespace carries the address, be it up or not: whether a socket may be bound to it. */
export function isOwnAddress(netns: number, address: string): boolean {
  const where = encodeSocketAddress(address, 0);
  if (where === undefined) return false;
  return inNamespaceOf(netns, () => {
    const fd = libc.socket(address.includes(":") ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    const bound = libc.bind(fd, where, where.length) === 0;
    libc.close(fd);
    return bound;
  });
}

/** A second descriptor of the same open file, close-on-exec. EMFILE can happen to anyone. */
export function duplicateDescriptor(fd: number): number | LinuxError {
  const copy = libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? lastError("fcntl", `duplicate of descriptor ${fd}`) : copy;
}

export function closeDescriptor(fd: number): void {
  libc.close(fd);
}

/** The descriptor under a socket or server that is open, by an undocumented property. */
export function descriptorOf(socket: object): number | undefined {
  if (socket instanceof BareSocket || socket instanceof BareStream) return socket.fd;
  const fd = (socket as { _handle?: { fd?: number } | null })._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}

/** An integer option; what the kernel refuses is returned. */
export function setOption(fd: number, level: number, name: number, value: number): LinuxError | undefined {
  int[0] = value;
  return libc.setsockopt(fd, level, name, int, 4) === 0 ? undefined : lastError("setsockopt", `${level}/${name}`);
}

function listenHere(options: ListenOptions): Listener | LinuxError {
  const { address, port, backlog = 128 } = options;
  const listener = tryListen(address, port, backlog, options);
  if (address === "::" && listener instanceof LinuxError && noIpv6.has(listener.errno ?? ""))
    return tryListen("0.0.0.0", port, backlog, options);
  return listener;
}

function tryListen(address: string, port: number, backlog: number, options: ListenOptions): Listener | LinuxError {
  const where = encodeSocketAddress(address, port);
  if (where === undefined) return new LinuxError({ code: "linux.not-an-address", address });
  const ipv6 = address.includes(":");
  const detail = `${address} port ${port}`;
  const fd = libc.socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return lastError("socket", detail);
  const failed = (call: string): LinuxError => closing(fd, lastError(call, detail));
  // Not to be confused with SO_REUSEPORT: allows binding while old connections of that port linger in TIME_WAIT.
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (options.sharePort === true) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (address === "::") setOption(fd, SOL_IPV6, IPV6_V6ONLY, 0);
  const marked = options.mark === undefined ? undefined : setOption(fd, SOL_SOCKET, SO_MARK, options.mark);
  if (marked !== undefined) return closing(fd, marked);
  const kept = options.keepAlive === undefined ? undefined : setKeepAlive(fd, options.keepAlive);
  if (kept !== undefined) return closing(fd, kept);
  const transparent = options.transparent === true && makeTransparent(fd, ipv6) === undefined;
  if (options.freebind === true) setOption(fd, SOL_IP, IP_FREEBIND, 1);
  if (libc.bind(fd, where, where.length) !== 0) return failed("bind");
  if (libc.listen(fd, backlog) !== 0) return failed("listen");
  return { fd, transparent };
}

/** A socket that is ready for connect(2). Few calls: there is one for every connection. */
function connectingSocket(options: ConnectOptions): number | LinuxError {
  const { remote, local, mark, keepAlive } = options;
  const ipv6 = remote.address.includes(":");
  const fd = libc.socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return lastError("socket");
  const failure =
    setNoDelay(fd) ??
    (mark === undefined ? undefined : setOption(fd, SOL_SOCKET, SO_MARK, mark)) ??
    (keepAlive === undefined ? undefined : setKeepAlive(fd, keepAlive)) ??
    (local === undefined ? undefined : bindLocal(fd, local, ipv6, options.transparent === true));
  return failure === undefined ? fd : closing(fd, failure);
}

function bindLocal(
  fd: number,
  local: NonNullable<ConnectOptions["local"]>,
  ipv6: boolean,
  transparent: boolean,
): LinuxError | undefined {
  const where = encodeSocketAddress(local.address, local.port ?? 0);
  if (where === undefined) return new LinuxError({ code: "linux.not-an-address", address: local.address });
  // Whether the port is chosen by connect or shared between connections: 4-tuples, not ports, are what there are 64,000 of.
  const failure =
    (transparent ? makeTransparent(fd, ipv6) : undefined) ??
    (local.port === undefined
      ? setOption(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
      : setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1));
  if (failure !== undefined) return failure;
  return libc.bind(fd, where, where.length) === 0 ? undefined : lastError("bind", local.address);
}

/** Each pair of options is one bit in the kernel: the IPv6 names make a socket for "::" transparent for IPv4 too. */
function makeTransparent(fd: number, ipv6: boolean): LinuxError | undefined {
  if (!ipv6) return setOption(fd, SOL_IP, IP_TRANSPARENT, 1) ?? setOption(fd, SOL_IP, IP_FREEBIND, 1);
  return setOption(fd, SOL_IPV6, IPV6_TRANSPARENT, 1) ?? setOption(fd, SOL_IPV6, IPV6_FREEBIND, 1);
}

/** Of a listening socket: what is accepted from it has the same. */
export function setKeepAlive(fd: number, keepAlive: KeepAlive): LinuxError | undefined {
  const { idleSeconds, intervalSeconds, probes, userTimeoutMs } = keepAlive;
  return (
    setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1) ??
    setOption(fd, SOL_TCP, TCP_KEEPIDLE, idleSeconds) ??
    setOption(fd, SOL_TCP, TCP_KEEPINTVL, intervalSeconds) ??
    setOption(fd, SOL_TCP, TCP_KEEPCNT, probes) ??
    (userTimeoutMs === undefined ? undefined : setOption(fd, SOL_TCP, TCP_USER_TIMEOUT, userTimeoutMs))
  );
}

/** Of a listening socket, too: what is accepted from it has the same. */
export function setNoDelay(fd: number): LinuxError | undefined {
  return setOption(fd, SOL_TCP, TCP_NODELAY, 1);
}

function plainSocket(fd: number): Socket {
  return new Socket({ fd, allowHalfOpen: true, manualStart: true } as SocketConstructorOpts);
}

function failedSocket(error: LinuxError): Socket {
  const socket = new Socket({ allowHalfOpen: true });
  // Not before the caller had its chance to listen for it: destroy emits on the next tick.
  return socket.destroy(error);
}

function closing(fd: number, error: LinuxError): LinuxError {
  libc.close(fd);
  return error;
}

const int = new Int32Array(1);
const noIpv6 = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);

// asm-generic/socket.h, linux/in.h, linux/in6.h, linux/tcp.h, linux/fcntl.h
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const SO_KEEPALIVE = 9;
const SO_MARK = 36;
const IP_FREEBIND = 15;
const IP_TRANSPARENT = 19;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IPV6_V6ONLY = 26;
const IPV6_TRANSPARENT = 75;
const IPV6_FREEBIND = 78;
const TCP_NODELAY = 1;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;
const F_DUPFD_CLOEXEC = 1030;
