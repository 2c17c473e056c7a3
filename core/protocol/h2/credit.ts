/**
 * What the peer may send (RFC 9113 5.2). A stream's window is given back as its data is consumed, so that a reader that stalls bounds
 * what is held for it; the connection's at once, so that no stream can stall the others. At any time a stream's window is what may
 * come, what is held, and what is owed together.
 */
import { windowUpdateFrame } from "./frame-writer.ts";
import { defaultWindow } from "./settings.ts";
import type { Transport } from "./send-side.ts";
import type { H2Stream } from "./stream.ts";

export class Credit {
  readonly #transport: Transport;
  /** The widest of those that the peer may be acting on: the one that it acknowledged last, and those that it was told since. */
  #streamWindow: number;
  #acknowledged = defaultWindow;
  readonly #told: number[];
  readonly #connectionWindow: number;
  /** Octets that may come in all streams together. */
  #left = defaultWindow;
  #owed = 0;
  #held = 0;

  /** @param streamWindow that our first SETTINGS tell. */
  constructor(transport: Transport, streamWindow: number, connectionWindow: number) {
    this.#transport = transport;
    this.#told = [streamWindow];
    this.#streamWindow = Math.max(streamWindow, this.#acknowledged);
    this.#connectionWindow = connectionWindow;
  }

  /** What a stream may be sent before it is read. */
  get streamWindow(): number {
    return this.#streamWindow;
  }

  /** The peer is told another window for every stream, also for those that are open (RFC 9113 6.9.2). */
  tell(streamWindow: number, streams: Iterable<H2Stream>): void {
    this.#told.push(streamWindow);
    this.#resize(streams);
  }

  /** It has acknowledged the oldest that it was told. A window that has become smaller may be overdrawn by then. */
  acknowledged(streams: Iterable<H2Stream>): void {
    this.#acknowledged = this.#told.shift() ?? this.#acknowledged;
    this.#resize(streams);
  }

  #resize(streams: Iterable<H2Stream>): void {
    const change = Math.max(this.#acknowledged, ...this.#told) - this.#streamWindow;
    if (change === 0) return;
    this.#streamWindow += change;
    for (const stream of streams) {
      stream.receiveWindow += change;
      // What is owed may be more than all of a smaller window by now: its peer would wait for it, and we for its peer.
      this.#repay(stream);
    }
  }

  /** Octets of all streams that have come and are not consumed. */
  get held(): number {
    return this.#held;
  }

  /** Widens the connection's window to what it is to be. */
  start(): void {
    const grant = this.#connectionWindow - this.#left;
    if (grant <= 0) return;
    this.#transport.write(windowUpdateFrame(0, grant));
    this.#left += grant;
  }

  /** A DATA frame of that length, padding and all, has begun. @returns false if it may not. */
  takeFromConnection(octets: number): boolean {
    this.#left -= octets;
    if (this.#left < 0) return false;
    this.#owed += octets;
    if (this.#owed < this.#connectionWindow / 2) return true;
    this.#transport.write(windowUpdateFrame(0, this.#owed));
    this.#left += this.#owed;
    this.#owed = 0;
    return true;
  }

  takeFromStream(stream: H2Stream, octets: number): boolean {
    if (octets > stream.receiveWindow) return false;
    stream.receiveWindow -= octets;
    return true;
  }

  hold(octets: number): void {
    this.#held += octets;
  }

  /** @param octets that were held, or were padding. */
  giveBack(stream: H2Stream, octets: number, wereHeld: boolean): void {
    if (wereHeld) this.#held -= octets;
    stream.owed += octets;
    this.#repay(stream);
  }

  /** Not octet by octet: when it is worth a frame. */
  #repay(stream: H2Stream): void {
    if (stream.owed === 0 || stream.owed < this.#streamWindow / 2 || !stream.mayReceive) return;
    this.#transport.write(windowUpdateFrame(stream.id, stream.owed));
    stream.receiveWindow += stream.owed;
    stream.owed = 0;
  }
}
