/** AF_PACKET: whole Ethernet frames of an interface, to watch or to carry (packet(7)). Needs CAP_NET_RAW in that namespace. */
import { lastError, LinuxError } from "./errno.ts";
import {
  AF_PACKET,
  libc,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_PACKET,
  SOL_SOCKET,
  whenReadable,
} from "./libc.ts";
import type { Readiness } from "./libc.ts";
import { inNamespaceOf } from "./namespace.ts";
import { setOption } from "./sockets.ts";

export interface PacketSocketOptions {
  /** One interface; all of the namespace's when missing. */
  readonly interface?: string;
  readonly netns?: number | undefined;
  /** Frames that this host sends are seen as well. Default true: to watch. A wire says false, or it hears itself. */
  readonly outgoing?: boolean;
}

export type Direction = "in" | "out";

export function openPacketSocket(options: PacketSocketOptions): PacketSocket | LinuxError {
  return inNamespaceOf(options.netns, () => openHere(options));
}

/** Keeps the process alive until it is closed, unless it is unref'ed. */
export class PacketSocket {
  readonly #fd: number;
  readonly #readiness: Readiness;
  #receive: (frame: Uint8Array, direction: Direction) => void = () => {};
  #closed = false;

  /** @param fd a bound socket, which this object owns from now on. */
  constructor(fd: number) {
    this.#fd = fd;
    this.#readiness = whenReadable(fd, () => this.#drain());
  }

  /**
   * Called with each frame, link header first. The bytes are the socket's own and hold the next frame afterwards: copy what is
   * kept. Longer than 64 KiB is cut. Segmentation offload shows frames longer than the MTU: see offloads.ts.
   */
  onFrame(receive: (frame: Uint8Array, direction: Direction) => void): void {
    this.#receive = receive;
  }

  /** Sends one frame as it is, link header first. ENOBUFS: the interface's queue is full. EMSGSIZE: longer than the MTU. */
  send(frame: Uint8Array): LinuxError | undefined {
    return libc.send(this.#fd, frame, frame.length, 0) < 0 ? lastError("send", "AF_PACKET") : undefined;
  }

  /** Frames that came and found no room, since the last time this was asked: a watcher with losses proves nothing. */
  dropped(): number {
    if (this.#closed) return 0;
    const statistics = new Int32Array(2);
    libc.getsockopt(this.#fd, SOL_PACKET, PACKET_STATISTICS, statistics, Int32Array.of(8));
    return (statistics[1] ?? 0) >>> 0;
  }

  /** Hands over everything that has come so far, now. */
  flush(): void {
    while (!this.#closed && this.#next());
  }

  unref(): void {
    this.#readiness.unref();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    libc.close(this.#fd);
  }

  #drain(): void {
    for (let i = 0; i < FRAMES_PER_TURN && !this.#closed; i++) if (!this.#next()) return;
  }

  #next(): boolean {
    addressLength[0] = SOCKADDR_LL;
    const length = libc.recvfrom(this.#fd, inbox, inbox.length, 0, address, addressLength);
    if (length < 0) return false; // EAGAIN; ENETDOWN while the interface is down
    this.#receive(inbox.subarray(0, length), address[PACKET_TYPE_AT] === PACKET_OUTGOING ? "out" : "in");
    return true;
  }
}

function openHere(options: PacketSocketOptions): PacketSocket | LinuxError {
  const name = options.interface;
  const index = name === undefined ? 0 : libc.if_nametoindex(name);
  if (name !== undefined && index === 0) return new LinuxError({ code: "linux.no-interface", name });
  // No protocol yet: nothing may come in before it is bound to its interface.
  const fd = libc.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return lastError("socket", "AF_PACKET");
  // More than the limit for all is for the root of the machine only; then what one gets must do.
  if (setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)) setOption(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
  const failure = options.outgoing === false ? setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1) : undefined;
  const bound = failure ?? bindTo(fd, index, name);
  if (bound === undefined) return new PacketSocket(fd);
  libc.close(fd);
  return bound;
}

function bindTo(fd: number, index: number, name = "every interface"): LinuxError | undefined {
  const where = Buffer.alloc(SOCKADDR_LL);
  where.writeUInt16LE(AF_PACKET, 0);
  where.writeUInt16BE(ETH_P_ALL, 2);
  where.writeInt32LE(index, 4);
  return libc.bind(fd, where, where.length) === 0 ? undefined : lastError("bind", name);
}

const inbox = Buffer.alloc(64 * 1024);
const address = new Uint8Array(20);
const addressLength = new Int32Array(1);
const FRAMES_PER_TURN = 256;
const RECEIVE_BUFFER = 16 * 1024 * 1024;

// linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h
const SOCKADDR_LL = 20;
const PACKET_TYPE_AT = 10;
const PACKET_OUTGOING = 4;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
const ETH_P_ALL = 3;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
