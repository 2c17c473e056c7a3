/** A TCP connection as one end of a relay. No closure per connection: the handlers are shared and find their end on the socket. */
import type { Socket } from "node:net";
import { BareSocket, type BareSocketListener } from "../../core/linux/bare-socket.ts";
import { errnoOf, namedError } from "../../core/linux/errno.ts";
import { readBy } from "../../core/linux/lent-reads.ts";
import { nobody, pauseReasons, type ByteEnd, type EndListener, type PauseReason } from "./byte-end.ts";
import { keep, lendFleeting, mustCopy, takenBack } from "./lending.ts";
import type { ResetWatch } from "./reset-watch.ts";

/** A socket of an application. */
export type EndSocket = BareSocket | Socket;

export class TcpEnd implements ByteEnd, BareSocketListener {
  readonly socket: EndSocket;
  readonly #watch: ResetWatch | undefined;
  listener: EndListener = nobody;
  #pauses: number = pauseReasons.unjoined;
  /** Why nothing more is to be told: a reset of ours, or one that was told. */
  #silenced = false;
  /** What happened while nobody was there to be told. */
  #unheard: { error: Error | undefined; closed: boolean } = { error: undefined, closed: false };

  /** @param socket connected, half-open allowed, and not read from yet. @param watch hears what Node does not. */
  constructor(socket: EndSocket, watch?: ResetWatch) {
    this.socket = socket;
    this.#watch = watch;
    if (socket instanceof BareSocket) socket.listener = this;
    else this.#listenTo(socket);
  }

  #listenTo(socket: Socket): void {
    (socket as OwnedSocket)[owner] = this;
    // Paused first: a 'data' listener on a stream that nobody paused starts it.
    socket.pause();
    if (!readBy(socket, this)) socket.on("data", onData);
    socket.on("end", onEnd);
    socket.on("drain", onDrain);
    socket.on("error", onError);
    socket.on("close", onClose);
  }

  write(chunk: Uint8Array): boolean {
    const { socket } = this;
    if (socket.destroyed) return true;
    const before = socket.writableLength;
    // A few octets that have to wait must not hold all that was read with them: nobody accounts for that.
    const isOwn = mustCopy() || (before > 0 && chunk.length <= mostCopied);
    const mayGoOn = socket.write(isOwn ? Buffer.from(chunk) : chunk);
    // What the kernel has not taken in the same call is still read from where it lies.
    if (!isOwn && socket.writableLength > before) keep(chunk);
    return mayGoOn;
  }

  end(): void {
    this.socket.end();
  }

  reset(): void {
    this.#silenced = true;
    const { socket } = this;
    if (socket instanceof BareSocket) return socket.reset();
    // While a shutdown() is under way libuv refuses to reset (uv_tcp_close_reset: EINVAL), and Node would neither close nor say so.
    const shuttingDown = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
    if (shuttingDown && !socket.destroyed) socket.once("finish", resetAndDestroy);
    else socket.resetAndDestroy();
  }

  pause(reason: PauseReason): void {
    this.#pauses |= reason;
    this.#watch?.add(this);
    this.socket.pause();
  }

  resume(reason: PauseReason): void {
    this.#pauses &= ~reason;
    if (reason === pauseReasons.unjoined) this.#tellUnheard();
    if (this.#pauses === 0) this.socket.resume();
    else this.#watch?.add(this);
  }

  /** Nobody reads from it although it is part of a relay: a reset would go unheard. */
  get isDeaf(): boolean {
    const { destroyed, readableEnded } = this.socket;
    const joined = (this.#pauses & pauseReasons.unjoined) === 0;
    return joined && !destroyed && (this.#pauses !== 0 || readableEnded);
  }

  /** The kernel has said that the connection is gone. */
  lose(errno: string): void {
    this.socket.destroy(namedError("poll", errno));
  }

  /** @internal BareSocketListener, and LentReader. */
  read(bytes: Uint8Array): void {
    const before = lendFleeting();
    try {
      this.listener.data(this, bytes);
    } finally {
      takenBack(before, bytes);
    }
  }

  /** @internal BareSocketListener, and for the handlers below. */
  ended(): void {
    this.#watch?.add(this);
    this.listener.ended(this);
  }

  /** @internal as above. */
  drained(): void {
    this.listener.drained(this);
  }

  /** @internal as above. */
  closed(): void {
    this.#watch?.remove(this);
    if (this.listener === nobody) this.#unheard.closed = true;
    else this.listener.closed(this);
  }

  /** @internal as above. */
  failed(error: Error): void {
    if (this.listener === nobody) this.#unheard.error ??= error;
    if (this.#silenced || this.listener === nobody) return;
    this.#silenced = true;
    this.listener.reset(this, { kind: "tcp", errno: errnoOf(error) ?? "unknown" });
  }

  #tellUnheard(): void {
    const { error, closed } = this.#unheard;
    this.#unheard = { error: undefined, closed: false };
    if (error !== undefined || closed) this.failed(error ?? namedError("read", "ECONNRESET"));
    if (closed) this.listener.closed(this);
  }
}

const mostCopied = 4_096;
const owner = Symbol("owner");

interface OwnedSocket extends Socket {
  [owner]?: TcpEnd;
}

function resetAndDestroy(this: Socket): void {
  this.resetAndDestroy();
}

function onData(this: OwnedSocket, chunk: Uint8Array): void {
  const end = this[owner];
  end?.listener.data(end, chunk);
}

function onEnd(this: OwnedSocket): void {
  this[owner]?.ended();
}

function onDrain(this: OwnedSocket): void {
  this[owner]?.drained();
}

function onError(this: OwnedSocket, error: Error): void {
  this[owner]?.failed(error);
}

function onClose(this: OwnedSocket): void {
  this[owner]?.closed();
}
