/**
 * AF_UNIX SOCK_SEQPACKET: whole packets in order, with descriptors as passengers (unix(7), SCM_RIGHTS). Node's `net` cannot
 * wrap such a socket; readiness comes from this thread's own event loop, so nothing polls and no thread waits.
 */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { fromNode, lastError, LinuxError } from "./errno.ts";
import {
  addressOf,
  AF_UNIX,
  libc,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
  SOL_SOCKET,
  whenReadable,
} from "./libc.ts";
import type { Readiness } from "./libc.ts";

/** Who is at the other end, as the kernel noted when it connected (or listened). */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Binds and listens. A socket file that a dead process left behind is replaced; anything else at that path is EADDRINUSE.
 * @param mode of the file: who may connect. Default 0o600.
 */
export function listenSeqpacket(path: string, mode = 0o600): SeqpacketListener | LinuxError {
  const where = unixAddress(path);
  if (where instanceof LinuxError) return where;
  const fd = openSocket();
  if (fd instanceof LinuxError) return fd;
  const failure = removeStaleFile(path) ?? bindAndListen(fd, where, path, mode);
  if (failure === undefined) return new SeqpacketListener(fd, path);
  libc.close(fd);
  return failure;
}

/** Connects at once or not at all: ENOENT, ECONNREFUSED, EAGAIN (its backlog is full). */
export function connectSeqpacket(path: string): SeqpacketConnection | LinuxError {
  const where = unixAddress(path);
  if (where instanceof LinuxError) return where;
  const fd = openSocket();
  if (fd instanceof LinuxError) return fd;
  if (libc.connect(fd, where, where.length) === 0) return new SeqpacketConnection(fd);
  const failure = lastError("connect", path);
  libc.close(fd);
  return failure;
}

/** Keeps the process alive until it is closed. */
export class SeqpacketListener {
  readonly path: string;
  readonly #fd: number;
  readonly #readiness: Readiness;
  #accepted: (connection: SeqpacketConnection) => void = refuse;
  #reserve = reserveDescriptor();
  #closed = false;

  constructor(fd: number, path: string) {
    this.#fd = fd;
    this.path = path;
    this.#readiness = whenReadable(fd, () => this.#accept());
  }

  /** Set it in the same turn in which the listener was made; a connection that nobody wants is closed. */
  onConnection(accepted: (connection: SeqpacketConnection) => void): void {
    this.#accepted = accepted;
  }

  /** Stops listening and removes the file; connections go on. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    libc.close(this.#fd);
    libc.close(this.#reserve);
    try {
      unlinkSync(this.path);
    } catch {
      // Gone already, with its directory perhaps.
    }
  }

  #accept(): void {
    while (!this.#closed) {
      const fd = libc.accept4(this.#fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) this.#accepted(new SeqpacketConnection(fd));
      else if (noDescriptorLeft.has(lastError("accept4").errno ?? "")) return this.#turnAway();
      // EAGAIN: that was all. ECONNABORTED: gone again; what is behind it comes next turn.
      else return;
    }
  }

  /** Without a free descriptor the connection would wait, and readiness would call us for ever: it is accepted and closed. */
  #turnAway(): void {
    libc.close(this.#reserve);
    const fd = libc.accept4(this.#fd, null, null, SOCK_CLOEXEC);
    if (fd >= 0) libc.close(fd);
    this.#reserve = reserveDescriptor();
  }
}

/** Keeps the process alive until it is closed, by either end. */
export class SeqpacketConnection {
  readonly #fd: number;
  readonly #readiness: Readiness;
  readonly #peer: PeerCredentials;
  #packet: (bytes: Uint8Array, descriptors: number[]) => void = dropPacket;
  #ended: (error?: LinuxError) => void = () => {};
  #closed = false;

  /** @param fd a connected socket, which this object owns from now on. */
  constructor(fd: number) {
    this.#fd = fd;
    this.#peer = credentials(fd);
    this.#readiness = whenReadable(fd, () => this.#receive());
  }

  /**
   * One packet. The descriptors are duplicated on their way: the caller still owns, and closes, its own.
   * EAGAIN: the other end does not read (what it has not read is limited); EPIPE: it is gone;
   * ECONNRESET: it went with packets unread. An error does not close.
   */
  send(bytes: Uint8Array, descriptors: readonly number[] = []): LinuxError | undefined {
    if (this.#closed) return new LinuxError({ code: "linux.syscall", call: "sendmsg", errno: "EPIPE" });
    outgoing = { bytes, control: controlMessage(descriptors) };
    const sent = libc.sendmsg(this.#fd, messageHeader(outgoing.bytes, outgoing.control), MSG_NOSIGNAL);
    const failure = sent < 0 ? lastError("sendmsg") : undefined;
    outgoing = undefined;
    return failure;
  }

  /**
   * Called with each packet and the descriptors in it, which are close-on-exec and the callback's to close.
   * Set it in the same turn in which the connection was made.
   */
  onPacket(packet: (bytes: Uint8Array, descriptors: number[]) => void): void {
    this.#packet = packet;
  }

  /**
   * Called once when the other end has closed, or with the error that ended it (ECONNRESET: it had not read all of ours); not
   * after our own close().
   */
  onClose(ended: (error?: LinuxError) => void): void {
    this.#ended = ended;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readiness.close();
    libc.close(this.#fd);
  }

  peer(): PeerCredentials {
    return this.#peer;
  }

  #receive(): void {
    // A few, then the loop has its turn: level-triggered, so the rest is announced again.
    for (let i = 0; i < PACKETS_PER_TURN && !this.#closed; i++) {
      const received = receivePacket(this.#fd);
      if (received === "nothing-yet") return;
      if (received === "end") return this.#end();
      if (received instanceof LinuxError) return this.#end(received);
      this.#packet(received.bytes, received.descriptors);
    }
  }

  #end(error?: LinuxError): void {
    this.close();
    this.#ended(error);
  }
}

type Received = { readonly bytes: Uint8Array; readonly descriptors: number[] };

/** A zero-length packet cannot be told from the end, so none is ever sent by ZDS; it is taken as the end. */
function receivePacket(fd: number): Received | "nothing-yet" | "end" | LinuxError {
  inbox.control.fill(0);
  inbox.header.writeUInt32LE(inbox.control.length, CONTROL_LENGTH_AT);
  inbox.header.writeInt32LE(0, FLAGS_AT);
  const length = libc.recvmsg(fd, inbox.header, MSG_CMSG_CLOEXEC);
  if (length < 0) {
    const failure = lastError("recvmsg");
    return failure.errno === "EAGAIN" || failure.errno === "EINTR" ? "nothing-yet" : failure;
  }
  const flags = inbox.header.readInt32LE(FLAGS_AT);
  const controlLength = inbox.header.readUInt32LE(CONTROL_LENGTH_AT);
  const descriptors = passengers(inbox.control.subarray(0, controlLength));
  if ((flags & (MSG_TRUNC | MSG_CTRUNC)) !== 0) {
    descriptors.forEach((descriptor) => libc.close(descriptor));
    return new LinuxError({ code: "linux.truncated-packet", what: flags & MSG_TRUNC ? "bytes" : "descriptors" });
  }
  if (length === 0 && descriptors.length === 0) return "end";
  return { bytes: Uint8Array.prototype.slice.call(inbox.bytes, 0, length), descriptors };
}

/** The descriptors in the control messages (cmsg(3)): 64-bit length, level, type, then numbers. */
function passengers(control: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at + CMSG_HEADER <= control.length;) {
    const length = Number(control.readBigUInt64LE(at));
    if (length < CMSG_HEADER || at + length > control.length) break;
    const isRights = control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS;
    if (isRights) for (let i = at + CMSG_HEADER; i + 4 <= at + length; i += 4) found.push(control.readInt32LE(i));
    at += (length + 7) & ~7;
  }
  return found;
}

function controlMessage(descriptors: readonly number[]): Buffer | undefined {
  if (descriptors.length === 0) return undefined;
  const length = CMSG_HEADER + 4 * descriptors.length;
  const control = Buffer.alloc((length + 7) & ~7);
  control.writeBigUInt64LE(BigInt(length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  descriptors.forEach((descriptor, i) => control.writeInt32LE(descriptor, CMSG_HEADER + 4 * i));
  return control;
}

/**
 * struct msghdr of a 64-bit Linux with one struct iovec behind it, in one buffer. It holds addresses only: something must
 * refer to `bytes` and `control` until the call is over, or the collector may take them first.
 */
function messageHeader(bytes: Uint8Array, control: Buffer | undefined): Buffer {
  const header = Buffer.alloc(MSGHDR + IOVEC);
  header.writeBigUInt64LE(addressOf(header) + BigInt(MSGHDR), 16);
  header.writeBigUInt64LE(1n, 24);
  if (bytes.length > 0) header.writeBigUInt64LE(addressOf(bytes), MSGHDR);
  header.writeBigUInt64LE(BigInt(bytes.length), MSGHDR + 8);
  if (control !== undefined) {
    header.writeBigUInt64LE(addressOf(control), 32);
    header.writeBigUInt64LE(BigInt(control.length), CONTROL_LENGTH_AT);
  }
  return header;
}

function credentials(fd: number): PeerCredentials {
  const ucred = new Int32Array(3);
  // The kernel always knows; -1 is nobody.
  if (libc.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, Int32Array.of(12)) !== 0) ucred.fill(-1);
  return { pid: ucred[0] ?? -1, uid: ucred[1] ?? -1, gid: ucred[2] ?? -1 };
}

function openSocket(): number | LinuxError {
  const fd = libc.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  return fd < 0 ? lastError("socket", "AF_UNIX") : fd;
}

function unixAddress(path: string): Uint8Array | LinuxError {
  const name = Buffer.from(path);
  if (name.length >= SUN_PATH)
    return new LinuxError({ code: "linux.syscall", call: "bind", errno: "ENAMETOOLONG", detail: path });
  return Buffer.concat([Buffer.from([AF_UNIX, 0]), name, Buffer.alloc(1)]);
}

/** Takes away the file of a listener that no longer lives. */
function removeStaleFile(path: string): LinuxError | undefined {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return undefined;
  const answer = connectSeqpacket(path);
  if (!(answer instanceof LinuxError)) answer.close();
  else if (answer.errno === "ECONNREFUSED") unlinkSync(path);
  return undefined;
}

function bindAndListen(fd: number, where: Uint8Array, path: string, mode: number): LinuxError | undefined {
  if (libc.bind(fd, where, where.length) !== 0) return lastError("bind", path);
  try {
    // Before listen: nobody can connect while the mode is still the umask's.
    chmodSync(path, mode);
  } catch (error) {
    return fromNode(error, "chmod", path);
  }
  return libc.listen(fd, BACKLOG) === 0 ? undefined : lastError("listen", path);
}

/** A descriptor to give up when there is no other; -1 where even that one can't be had. */
function reserveDescriptor(): number {
  return libc.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

function refuse(connection: SeqpacketConnection): void {
  connection.close();
}

function dropPacket(_bytes: Uint8Array, descriptors: number[]): void {
  descriptors.forEach((descriptor) => libc.close(descriptor));
}

const noDescriptorLeft = new Set(["EMFILE", "ENFILE"]);
const MSGHDR = 56;
const IOVEC = 16;
const CONTROL_LENGTH_AT = 40;
const FLAGS_AT = 48;
const CMSG_HEADER = 16;
const SUN_PATH = 108;
const BACKLOG = 128;
const PACKETS_PER_TURN = 64;

// asm-generic/socket.h, linux/socket.h
const SO_PEERCRED = 17;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

/** What the header of a sendmsg in progress points to. */
let outgoing: { bytes: Uint8Array; control: Buffer | undefined } | undefined;

/** One for the thread: packets are copied out before the next is received. */
const inbox = makeInbox();

function makeInbox(): { bytes: Uint8Array; control: Buffer; header: Buffer } {
  const bytes = new Uint8Array(64 * 1024);
  // Room for 16 descriptors; more than that in one packet is an attack.
  const control = Buffer.alloc(CMSG_HEADER + 4 * 16);
  return { bytes, control, header: messageHeader(bytes, control) };
}
