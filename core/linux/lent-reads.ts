/**
 * Sockets that read into one buffer of the thread, in place of a fresh one of 64 KiB for each read: a third of the CPU of a bulk
 * transfer's reading is left, and nothing for the garbage collector. What has been read is its reader's for the length of the call.
 */
import { Socket, type SocketConstructorOpts } from "node:net";

export interface LentReader {
  /** @param bytes valid during the call only. */
  read(bytes: Uint8Array): void;
}

/** A socket of that kind; half-open is allowed. Nothing is read before somebody asks, and that had better be after {@link readBy}. */
export function lendingSocket(over: { readonly fd: number } | { readonly handle: object }): Socket {
  const options: object = { ...over, onread: lentReads, allowHalfOpen: true, manualStart: true };
  const socket: LendingSocket = new Socket(options);
  // From here on it has the property, by which its kind is known.
  socket[reader] = undefined;
  return socket;
}

/**
 * A socket that a server has accepted, made anew upon the same handle (the `handle` of Socket's constructor is how net.Server makes
 * its own). To be called before anybody listens to it or reads from it; the old one is left without anything.
 */
export function withLentReads(accepted: Socket): Socket {
  const stale = accepted as Socket & { _handle: object | null };
  const handle = stale._handle;
  if (handle === null) return accepted;
  stale._handle = null;
  return lendingSocket({ handle });
}

/** Says who reads from a socket. @returns false where it is an ordinary one, which emits `data`. */
export function readBy(socket: object, next: LentReader): boolean {
  if (!(reader in socket)) return false;
  socket[reader] = next;
  return true;
}

const reader = Symbol("reader");

interface LendingSocket extends Socket {
  [reader]?: LentReader | undefined;
}

/** Node calls it as a method of the socket (tried on Node 24.21; lent-reads.test.ts). */
function onRead(this: unknown, octets: number, buffer: Uint8Array): boolean {
  const socket = this as LendingSocket;
  const next = socket[reader];
  if (next === undefined) socket.destroy(new Error("read from before there was a reader"));
  else next.read(octets === buffer.length ? buffer : buffer.subarray(0, octets));
  return true;
}

/** The thread's. */
export const lentBuffer: Buffer = Buffer.allocUnsafeSlow(64 << 10);

const lentReads: NonNullable<SocketConstructorOpts["onread"]> = { buffer: lentBuffer, callback: onRead };
