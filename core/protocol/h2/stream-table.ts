/** The streams of a connection: those that are open, and what the ids of the others mean (RFC 9113 5.1.1). */
import { largest31 } from "./frame.ts";
import type { H2Stream } from "./stream.ts";

/** What a frame's stream id can stand for, when it is none of the open streams. */
export type AbsentStream =
  /** Nobody has opened it yet. */
  | "idle"
  /** We have reset it: what the peer had sent before it heard is to be ignored. */
  | "reset-by-us"
  | "closed";

export class StreamTable {
  readonly #open = new Map<number, H2Stream>();
  readonly #resetByUs = new Set<number>();
  /** The same in order of their resets, as a ring: the oldest is forgotten first. */
  readonly #resets: number[] = [];
  #oldestReset = 0;
  readonly #isServer: boolean;
  /** Highest id that the peer has opened, 0 if none. */
  lastOfPeer = 0;
  #nextOfOurs = 1;
  /** Highest id of ours that the peer will look at: its GOAWAYs lower it (RFC 9113 6.8). */
  #lastOfOurs = largest31;

  constructor(role: "client" | "server") {
    this.#isServer = role === "server";
  }

  get size(): number {
    return this.#open.size;
  }

  [Symbol.iterator](): IterableIterator<H2Stream> {
    return this.#open.values();
  }

  get(id: number): H2Stream | undefined {
    return this.#open.get(id);
  }

  absent(id: number): AbsentStream {
    if (this.#resetByUs.has(id)) return "reset-by-us";
    const isClients = id % 2 === 1;
    if (isClients !== this.#isServer) return isClients && id < this.#nextOfOurs ? "closed" : "idle";
    return id <= this.lastOfPeer ? "closed" : "idle";
  }

  /** The peer's GOAWAY: it will look at none of ours above that. */
  limitOurs(lastStreamId: number): void {
    this.#lastOfOurs = Math.min(this.#lastOfOurs, lastStreamId);
  }

  /** An id for a stream of ours; undefined once there are no more, or the peer takes none. */
  nextId(): number | undefined {
    if (this.#nextOfOurs > this.#lastOfOurs) return undefined;
    const id = this.#nextOfOurs;
    this.#nextOfOurs += 2;
    return id;
  }

  add(stream: H2Stream): void {
    this.#open.set(stream.id, stream);
  }

  remove(stream: H2Stream): boolean {
    return this.#open.delete(stream.id);
  }

  rememberReset(id: number): void {
    this.#resetByUs.add(id);
    const forgotten = this.#resets[this.#oldestReset];
    if (forgotten !== undefined) this.#resetByUs.delete(forgotten);
    this.#resets[this.#oldestReset] = id;
    this.#oldestReset = (this.#oldestReset + 1) % mostRemembered;
  }

  /** The peer has reset it, too: nothing of it is under way any more. */
  forgetReset(id: number): void {
    this.#resetByUs.delete(id);
  }

  /** Those above an id: a GOAWAY tells of them. */
  above(id: number): H2Stream[] {
    return [...this.#open.values()].filter((stream) => stream.id > id);
  }
}

/** As many as can well come and go within a round trip: what the peer had sent in one that is forgotten is held against it. */
const mostRemembered = 2_048;
