/**
 * A TCP connection without net.Socket: for an end of a relay, which is no use for streams' buffers, events and promises, and of which there is
 * one or two for every connection. Its words are net.Socket's and mean the same; half-open is allowed, nothing is read before
 * somebody asks, and reads go into one buffer of the thread (lent-reads.ts).
 */
import { specimens } from "../base/specimens.ts";
import { socketEndpoint, type Endpoint } from "../base/ip.ts";
import { errnoName, lastError, namedError, type LinuxError } from "./errno.ts";
import { lentBuffer, type LentReader } from "./lent-reads.ts";
import { libc } from "./libc.ts";
import {
  endOfStream,
  tcpHandles,
  type HandleEndpoint,
  type HandleRequest,
  type TcpHandle,
  type TcpHandles,
} from "./tcp-handle.ts";

export interface BareSocketListener extends LentReader {
  /** The other side will send no more. */
  ended(): void;
  /** All that was written has been taken, after a `write` that returned false. */
  drained(): void;
  /** All that was written has been taken, after an `end` that found something left. */
  finished?(): void;
  /** Never from within a call of ours, as `closed`, which follows. */
  failed(error: LinuxError): void;
  /** Once, last. */
  closed(): void;
}

export class BareSocket {
  listener: BareSocketListener = nobody;
  /** Octets that the kernel has not taken. */
  writableLength = 0;
  /** The descriptor is closed. */
  destroyed = false;
  readableEnded = false;
  writableEnded = false;
  readonly #handle: TcpHandle;
  #isReading = false;
  #isConnecting = false;
  #mustTell = false;
  /** Octets of the write that is under way. */
  #beingWritten = 0;
  /** Behind it. */
  #waiting: Uint8Array[] | undefined;

  /** @param handle that nobody has read from; owned from now on. */
  constructor(handle: TcpHandle) {
    this.#handle = handle;
    (handle as OwnedHandle)[owner] = this;
    handle.onread = onRead;
    handle.useUserBuffer(lentBuffer);
  }

  /**
   * @param fd ready for connect(2); owned from now on.
   * @param connected hears once, later: why not, and then the socket is closed. Not called once it has been destroyed.
   */
  static connecting(fd: number, remote: Endpoint, connected: (error?: LinuxError) => void): BareSocket {
    const { makeHandle, makeConnect } = usable();
    const handle = makeHandle();
    const opened = handle.open(fd);
    if (opened !== 0) libc.close(fd);
    const socket = new BareSocket(handle);
    const request: ConnectRequest = makeConnect();
    request[owner] = socket;
    request.connected = connected;
    request.oncomplete = onConnected;
    specimens.connectRequest = request;
    const { address, port } = remote;
    socket.#isConnecting = true;
    const status =
      opened === 0
        ? address.includes(":")
          ? handle.connect6(request, address, port)
          : handle.connect(request, address, port)
        : opened;
    if (status !== 0) process.nextTick(finishConnect, socket, connected, status);
    return socket;
  }

  /** The descriptor; undefined once it is closed. */
  get fd(): number | undefined {
    const fd = this.destroyed ? -1 : this.#handle.fd;
    return fd < 0 ? undefined : fd;
  }

  /** The peer's end, canonical; undefined once that is gone. */
  get remote(): Endpoint | undefined {
    const into: Partial<HandleEndpoint> = {};
    if (this.destroyed || this.#handle.getpeername(into) !== 0) return undefined;
    return socketEndpoint(into.address, into.port);
  }

  /** Our own end. */
  get local(): Endpoint | undefined {
    const into: Partial<HandleEndpoint> = {};
    if (this.destroyed || this.#handle.getsockname(into) !== 0) return undefined;
    return socketEndpoint(into.address, into.port);
  }

  /**
   * @param chunk not to be touched while {@link writableLength} is more than it was before.
   * @returns false: hold back until `drained`.
   */
  write(chunk: Uint8Array): boolean {
    if (this.destroyed) return false;
    if (this.writableEnded) {
      this.destroy(namedError("write", "EPIPE"));
      return false;
    }
    const length = (this.writableLength += chunk.length);
    if (this.#beingWritten === 0) this.#give(chunk, chunk.length);
    else (this.#waiting ??= []).push(chunk);
    if (length < highWaterMark) return true;
    this.#mustTell = true;
    // Also where the kernel has taken all of it: whoever brings so much at once lets others have their turn.
    if (this.writableLength === 0) process.nextTick(tellDrained, this);
    return false;
  }

  /** No more: FIN, after all that was written. */
  end(): void {
    if (this.writableEnded || this.destroyed) return;
    this.writableEnded = true;
    if (this.writableLength === 0) this.#shutDown();
  }

  /** Abandons both directions: RST, and what the kernel has not taken is dropped. */
  reset(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    // Refused only while a shutdown of libuv's own is under way, which none ever is.
    if (this.#handle.reset() !== 0) this.#handle.close();
    this.#gone(undefined);
  }

  destroy(error?: LinuxError): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#handle.close();
    this.#gone(error);
  }

  pause(): void {
    if (!this.#isReading || this.destroyed) return;
    this.#isReading = false;
    this.#check(this.#handle.readStop());
  }

  resume(): void {
    if (this.#isReading || this.destroyed || this.readableEnded) return;
    this.#isReading = true;
    this.#check(this.#handle.readStart());
  }

  /** @internal for the handlers below. */
  received(octets: number): void {
    if (this.destroyed || octets === 0) return;
    if (octets > 0) {
      this.listener.read(octets === lentBuffer.length ? lentBuffer : lentBuffer.subarray(0, octets));
    } else if (octets === endOfStream) {
      this.readableEnded = true;
      this.#isReading = false;
      this.listener.ended();
      if (this.writableEnded && this.writableLength === 0) this.destroy();
    } else this.destroy(failure("read", octets));
  }

  /** @internal for the handlers below. */
  written(status: number): void {
    if (this.destroyed) return;
    if (status < 0) return this.destroy(failure("write", status));
    this.#taken();
    if (this.writableLength > 0 || this.destroyed) return;
    if (!this.writableEnded) return this.drained();
    this.#shutDown();
    this.listener.finished?.();
  }

  /** @internal for the handlers below. */
  drained(): void {
    if (!this.#mustTell || this.writableLength > 0 || this.writableEnded || this.destroyed) return;
    this.#mustTell = false;
    this.listener.drained();
  }

  /** @internal for the handlers below. */
  connected(hear: (error?: LinuxError) => void, status: number): void {
    if (this.destroyed || !this.#isConnecting) return;
    this.#isConnecting = false;
    if (status === 0) return hear();
    this.destroy();
    hear(failure("connect", status));
  }

  #give(chunks: Uint8Array | readonly Uint8Array[], octets: number): void {
    const { makeWrite, state, isLaterAt } = usable();
    const request: WriteRequest = (spare ??= makeWrite());
    const status =
      chunks instanceof Uint8Array
        ? this.#handle.writeBuffer(request, chunks)
        : this.#handle.writev(request, chunks, true);
    this.#beingWritten = octets;
    if (status !== 0) return this.destroy(failure("write", status));
    if (state[isLaterAt] === 0) return this.#taken();
    spare = undefined;
    request[owner] = this;
    request.chunks = chunks;
    request.oncomplete = onWritten;
  }

  /** What was being written, and then what waits behind it. */
  #taken(): void {
    this.writableLength -= this.#beingWritten;
    this.#beingWritten = 0;
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    this.#waiting = undefined;
    this.#give(waiting, this.writableLength);
  }

  #shutDown(): void {
    // Everything has been said and heard: closing says it as well.
    if (this.readableEnded) return this.destroy();
    // By hand: libuv would take two turns of the loop for it, and cannot reset a connection meanwhile. Where the peer has reset it (ENOTCONN),
    // that is still to be read.
    if (libc.shutdown(this.#handle.fd, SHUT_WR) !== 0) {
      const error = lastError("shutdown");
      if (error.errno !== "ENOTCONN") this.destroy(error);
    }
  }

  #check(status: number): void {
    if (status !== 0) this.destroy(failure("read", status));
  }

  #gone(error: LinuxError | undefined): void {
    this.#waiting = undefined;
    process.nextTick(tellGone, this, error);
  }
}

/** Whether there can be any in this thread. */
export function canBeBare(): boolean {
  return tcpHandles() !== undefined;
}

const owner = Symbol("owner");

interface OwnedHandle extends TcpHandle {
  [owner]?: BareSocket;
}

interface WriteRequest extends HandleRequest {
  [owner]?: BareSocket;
  /** Kept for as long as they are read from. */
  chunks?: Uint8Array | readonly Uint8Array[];
}

interface ConnectRequest extends HandleRequest {
  [owner]?: BareSocket;
  connected?: (error?: LinuxError) => void;
}

/** Most writes are over at once, and leave their request as it was. */
let spare: HandleRequest | undefined;

function usable(): TcpHandles {
  const handles = tcpHandles();
  if (handles === undefined) throw new Error("this Node has no bare sockets");
  return handles;
}

function onRead(this: OwnedHandle): void {
  const { state, octetsReadAt } = usable();
  this[owner]?.received(state[octetsReadAt] ?? 0);
}

function onWritten(this: WriteRequest, status: number): void {
  this[owner]?.written(status);
}

function onConnected(this: ConnectRequest, status: number): void {
  const { connected } = this;
  if (connected !== undefined) this[owner]?.connected(connected, status);
}

function finishConnect(socket: BareSocket, connected: (error?: LinuxError) => void, status: number): void {
  socket.connected(connected, status);
}

function tellDrained(socket: BareSocket): void {
  socket.drained();
}

function tellGone(socket: BareSocket, error: LinuxError | undefined): void {
  if (error !== undefined) socket.listener.failed(error);
  socket.listener.closed();
}

function failure(call: string, status: number): LinuxError {
  return namedError(call, errnoName(-status));
}

/** Before it has an owner: what is lost by then is told to whoever asks (`destroyed`). */
const nobody: BareSocketListener = { read() {}, ended() {}, drained() {}, failed() {}, closed() {} };

/** net.Socket's own. */
const highWaterMark = 64 << 10;
const SHUT_WR = 1;
