/**
 * Two ends joined: bytes both ways, each half-close passed on once everything before it was, a reset passed on as a reset.
 * One object per connection and nothing per chunk. Back-pressure is a pause of the far end's partner; what is not read stays
 * in the kernel or in the peer's window.
 */
import { pauseReasons, type ByteEnd, type EndListener, type ResetCause } from "./byte-end.ts";

/** How a relay ended: the first cause, whatever followed from it. */
export type RelayOutcome =
  | { readonly kind: "orderly" } // both ends said that they had no more, and everything was handed over
  | { readonly kind: "reset"; readonly by: "first" | "second"; readonly cause: ResetCause }
  | { readonly kind: "cut" }; // by us

export interface RelayOwner {
  /** Called once, when nothing of either end is left. */
  relayEnded(outcome: RelayOutcome): void;
}

export class Relay implements EndListener {
  readonly #first: ByteEnd;
  readonly #second: ByteEnd;
  readonly #owner: RelayOwner;
  #outcome: RelayOutcome | undefined;
  #open = 2;
  /** Bytes handed from the first end to the second, and back. */
  forward = 0;
  backward = 0;

  constructor(first: ByteEnd, second: ByteEnd, owner: RelayOwner) {
    this.#first = first;
    this.#second = second;
    this.#owner = owner;
    first.listener = this;
    second.listener = this;
  }

  /** Lets bytes flow. */
  start(): void {
    this.#first.resume(pauseReasons.unjoined);
    this.#second.resume(pauseReasons.unjoined);
  }

  /** Somebody has ended it out of order already; both ends are on their way out. */
  get isEnding(): boolean {
    return this.#outcome !== undefined;
  }

  /** Ends both at once with a reset: policy, or the end of our patience. */
  cut(): void {
    this.#outcome ??= { kind: "cut" };
    this.#first.reset();
    this.#second.reset();
  }

  data(from: ByteEnd, chunk: Uint8Array): void {
    if (from === this.#first) this.forward += chunk.length;
    else this.backward += chunk.length;
    if (!this.#opposite(from).write(chunk)) from.pause(pauseReasons.full);
  }

  drained(from: ByteEnd): void {
    this.#opposite(from).resume(pauseReasons.full);
  }

  ended(from: ByteEnd): void {
    this.#opposite(from).end();
  }

  reset(from: ByteEnd, cause: ResetCause): void {
    this.#outcome ??= { kind: "reset", by: from === this.#first ? "first" : "second", cause };
    this.#opposite(from).reset();
  }

  closed(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#owner.relayEnded(this.#outcome ?? { kind: "orderly" });
  }

  #opposite(end: ByteEnd): ByteEnd {
    return end === this.#first ? this.#second : this.#first;
  }
}
