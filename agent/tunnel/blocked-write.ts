/**
 * Keeps a tunnel reading. Node's HTTP/2 session stops reading from its socket while a write of its own is under way (node_http2.cc,
 * MaybeStopReading): two such peers that send each other more than the kernel holds wait for each other, until a keepalive kills
 * the tunnel with all that is in it. Reading on is enough to part them: the session takes what comes, and still sends nothing.
 */
import type { Socket } from "node:net";
import type { Clock } from "../../core/base/clock.ts";
import { tunnelLimits } from "./tunnel.ts";

export class BlockedWrite {
  readonly #socket: SocketWithHandle;
  readonly #clock: Clock;
  #cancel: (() => void) | undefined;
  /** Looks since the last write to a stream. */
  #quietLooks = 0;
  /** The write under way: `written` changes with each that begins. */
  #seen: { readonly written: number; readonly queued: number } = { written: 0, queued: 0 };
  /** Bytes that had been read when that write began. */
  #readBefore = 0;

  /** @param socket TCP, beneath TLS. */
  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
  }

  /** A stream of the session was written to. Called for every chunk. */
  wrote(): void {
    this.#quietLooks = 0;
    this.#cancel ??= this.#clock.after(lookEveryMs, this.#lookAgain);
  }

  /** What is written without `wrote`, because a window was opened: called about once a second. */
  look(): void {
    const handle = this.#socket._handle ?? undefined;
    if (handle === undefined || handle.writeQueueSize === 0) {
      this.#seen = { written: 0, queued: 0 };
      return;
    }
    const { writeQueueSize: queued, bytesWritten: written, bytesRead: read } = handle;
    const { written: writtenBefore, queued: queuedBefore } = this.#seen;
    this.#seen = { written, queued };
    if (written !== writtenBefore) this.#readBefore = read;
    else if (queued !== queuedBefore) return;
    // A peer that keeps to its window can have sent no more, as none was opened meanwhile.
    else if (read - this.#readBefore > mostUnanswered) handle.readStop();
    else handle.readStart();
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  readonly #lookAgain = (): void => {
    this.look();
    this.#quietLooks += 1;
    const goesOn = this.#quietLooks < quietLooks && !this.#socket.destroyed;
    this.#cancel = goesOn ? this.#clock.after(lookEveryMs, this.#lookAgain) : undefined;
  };
}

/** What Node has for every socket and says nothing about. */
type SocketWithHandle = Socket & {
  readonly _handle?: {
    /** Bytes that libuv has taken and the kernel has not. */
    readonly writeQueueSize: number;
    /** Bytes of all writes that have begun. */
    readonly bytesWritten: number;
    readonly bytesRead: number;
    /** No harm if it reads already. */
    readStart(): number;
    readStop(): number;
  } | null;
};

const lookEveryMs = 20;
/** A second: after that the keepalive's looks are enough. */
const quietLooks = 50;
/** The connection's window, with what TLS and frames add to it. */
const mostUnanswered = tunnelLimits.connectionWindow * 1.05;
