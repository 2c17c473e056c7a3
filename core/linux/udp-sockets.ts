/** UDP with what node:dgram has no word for: another network namespace, a mark; and questions to one server, each from a port of its own. */
import type { Endpoint } from "../base/ip.ts";
import { lastError, LinuxError } from "./errno.ts";
import { AF_INET, AF_INET6, libc, SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_IP, SOL_SOCKET, whenReadable } from "./libc.ts";
import { inNamespaceOf } from "./namespace.ts";
import { encodeSocketAddress } from "./socket-address.ts";
import { setOption } from "./sockets.ts";

export interface BindUdpOptions {
  readonly netns?: number | undefined;
  /** One address: it need not be there yet (IP_FREEBIND). */
  readonly address: string;
  readonly port: number;
  readonly mark?: number | undefined;
}

/**
 * A bound socket, non-blocking and close-on-exec, without SO_REUSEADDR or SO_REUSEPORT: nobody else can take its port.
 * Serve it by `createSocket(…).bind({fd})`; several threads may, each on its own duplicate: every datagram goes to one of them.
 */
export function bindUdp({ netns, address, port, mark }: BindUdpOptions): number | LinuxError {
  const where = encodeSocketAddress(address, port);
  if (where === undefined) return new LinuxError({ code: "linux.not-an-address", address });
  return inNamespaceOf(netns, () => {
    const fd = datagramSocket(address, mark);
    if (fd instanceof LinuxError) return fd;
    setOption(fd, SOL_IP, IP_FREEBIND, 1);
    if (libc.bind(fd, where, where.length) === 0) return fd;
    return closing(fd, lastError("bind", `${address} port ${port}`));
  });
}

export interface UdpExchangeOptions {
  readonly netns?: number | undefined;
  readonly remote: Endpoint;
  readonly mark?: number | undefined;
  /** A datagram from the remote: a view that is overwritten by the next one of this thread. */
  readonly onMessage: (bytes: Uint8Array) => void;
  /** Nothing more will come: ECONNREFUSED, EHOSTUNREACH … The exchange is closed by then. */
  readonly onError: (error: LinuxError) => void;
}

/**
 * One connected socket on a port that the kernel chose at random: it hears its remote and nobody else. 20 µs from socket(2) to close(2), where
 * node:dgram takes 40. It belongs to no handle of Node's: a thread that ends closes it first.
 */
export class UdpExchange {
  readonly #fd: number;
  readonly #stop: () => void;
  #isOpen = true;

  /** Sends the first datagram; what fails at once is returned. */
  static open(first: Uint8Array, options: UdpExchangeOptions): UdpExchange | LinuxError {
    const { netns, remote, mark } = options;
    const fd = inNamespaceOf(netns, () => connected(remote, mark));
    if (fd instanceof LinuxError) return fd;
    if (libc.send(fd, first, first.length, 0) < 0) return closing(fd, lastError("send"));
    return new UdpExchange(fd, options);
  }

  private constructor(fd: number, options: UdpExchangeOptions) {
    this.#fd = fd;
    const watch = whenReadable(fd, () => this.#read(options));
    this.#stop = () => watch.close();
  }

  /** Harmless when it is closed. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#stop();
    libc.close(this.#fd);
  }

  #read({ onMessage, onError }: UdpExchangeOptions): void {
    while (this.#isOpen) {
      const length = libc.recv(this.#fd, inbox, inbox.length, 0);
      if (length >= 0) {
        onMessage(inbox.subarray(0, length));
        continue;
      }
      const error = lastError("recv");
      if (error.errno === "EAGAIN" || error.errno === "EINTR") return;
      this.close();
      onError(error);
    }
  }
}

function connected(remote: Endpoint, mark: number | undefined): number | LinuxError {
  const where = encodeSocketAddress(remote.address, remote.port);
  if (where === undefined) return new LinuxError({ code: "linux.not-an-address", address: remote.address });
  const fd = datagramSocket(remote.address, mark);
  if (fd instanceof LinuxError) return fd;
  if (libc.connect(fd, where, where.length) === 0) return fd;
  return closing(fd, lastError("connect", remote.address));
}

function datagramSocket(address: string, mark: number | undefined): number | LinuxError {
  const family = address.includes(":") ? AF_INET6 : AF_INET;
  const fd = libc.socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return lastError("socket");
  const failed = mark === undefined ? undefined : setOption(fd, SOL_SOCKET, SO_MARK, mark);
  return failed === undefined ? fd : closing(fd, failed);
}

function closing(fd: number, error: LinuxError): LinuxError {
  libc.close(fd);
  return error;
}

/** The longest datagram that there is. */
const inbox = new Uint8Array(65_535);

// asm-generic/socket.h, linux/in.h
const SOCK_DGRAM = 2;
const SO_MARK = 36;
const IP_FREEBIND = 15;
