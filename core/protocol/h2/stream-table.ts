/** The streams of a connection: those that are open, and what the ids of the others mean (RFC 9113 5.1.1). */
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
  /** In order of their resets; the oldest is forgotten first. */
  readonly #resetByUs = new Set<number>();
  readonly #isServer: boolean;
  /** Highest id that the peer has opened, 0 if none. */
  lastOfPeer = 0;
  #nextOfOurs = 1;

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

  /** An id for a stream of ours; undefined once there are no more. */
  nextId(): number | undefined {
    if (this.#nextOfOurs > 0x7fff_ffff) return undefined;
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
    if (this.#resetByUs.size <= mostRemembered) return;
    for (const oldest of this.#resetByUs) {
      this.#resetByUs.delete(oldest);
      return;
    }
  }

  /** Those above an id: a GOAWAY tells of them. */
  above(id: number): H2Stream[] {
    return [...this.#open.values()].filter((stream) => stream.id > id);
  }
}

/** As many as may be open at once, with some to spare. */
const mostRemembered = 512;
