/**
 * Keeps a tunnel going while a write to it stands still. Node's HTTP/2 session does not read from its socket while a write of its
 * own is under way (node_http2.cc, MaybeStopReading), nor let the socket go before that write is over. So two such peers that send
 * each other more than the kernel holds wait for each other; a connection that broke during a write is never heard of, because
 * TLS forgets the write (TLSWrap::EncOut waits for one that has failed); and a session that is destroyed stays. Reading on ends the
 * first two: the session takes what comes, or hears that nothing will. The third needs the socket destroyed.
 */
import type { Http2Session } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../../core/base/clock.ts";
import { tunnelLimits } from "../tunnel.ts";

export interface TunnelSockets {
  readonly session: Pick<Http2Session, "destroyed">;
  readonly tls: TLSSocket;
  /** Beneath TLS: TCP, or another tunnel's stream, which is asked nothing. */
  readonly socket: { readonly destroyed: boolean };
}

export class BlockedWrite {
  readonly #sockets: TunnelSockets;
  readonly #clock: Clock;
  #cancel: (() => void) | undefined;
  /** Looks since the last write to a stream. */
  #quietLooks = 0;
  /** The write under way: `written` changes with each that begins. */
  #seen: { readonly written: number; readonly queued: number } = { written: 0, queued: 0 };
  /** Bytes that had been read when that write began. */
  #readBefore = 0;

  constructor(sockets: TunnelSockets, clock: Clock) {
    this.#sockets = sockets;
    this.#clock = clock;
  }

  /** A stream of the session was written to. Called for every chunk. */
  wrote(): void {
    this.#quietLooks = 0;
    this.#cancel ??= this.#clock.after(lookEveryMs, this.#lookAgain);
  }

  /** For what is written without `wrote`, because a window was opened, and for sessions that end: called about once a second. */
  tick(): void {
    if (this.#sockets.session.destroyed) this.#sockets.tls.destroy();
    else this.#look();
  }

  /** The session has been destroyed: its socket has half a second for last words. */
  destroyed(): void {
    this.#clock.after(lastWordsMs, () => this.#sockets.tls.destroy());
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #look(): void {
    const tcp = handleOf(this.#sockets.socket);
    const queued = queuedIn(tcp) + queuedIn(handleOf(this.#sockets.tls));
    if (tcp === undefined || queued === 0) {
      this.#seen = { written: 0, queued: 0 };
      return;
    }
    const { bytesWritten: written, bytesRead: read } = tcp;
    const before = this.#seen;
    this.#seen = { written, queued };
    if (written !== before.written) this.#readBefore = read;
    else if (queued !== before.queued) return;
    // A peer that keeps to its window can have sent no more, as none was opened meanwhile.
    else if (read - this.#readBefore > mostUnanswered) tcp.readStop();
    else tcp.readStart();
  }

  readonly #lookAgain = (): void => {
    this.#look();
    this.#quietLooks += 1;
    const goesOn = this.#quietLooks < quietLooks && !this.#sockets.socket.destroyed;
    this.#cancel = goesOn ? this.#clock.after(lookEveryMs, this.#lookAgain) : undefined;
  };
}

/** What Node has for every socket and says nothing about. */
interface Handle {
  /** Bytes of the write under way that the next layer has not taken. */
  readonly writeQueueSize: number;
  /** Bytes of all writes that have begun. */
  readonly bytesWritten: number;
  readonly bytesRead: number;
  /** No harm if it reads already. */
  readStart(): number;
  readStop(): number;
}

function handleOf(socket: object): Handle | undefined {
  return (socket as { readonly _handle?: Handle | null })._handle ?? undefined;
}

function queuedIn(handle: Handle | undefined): number {
  return handle?.writeQueueSize ?? 0;
}

const lookEveryMs = 20;
/** A second: after that the ticks are enough. */
const quietLooks = 50;
const lastWordsMs = 500;
/** The connection's window, with what TLS and frames add to it. */
const mostUnanswered = tunnelLimits.connectionWindow * 1.05;
