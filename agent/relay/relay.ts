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
  /** The first bytes since {@link Relay.hasMoved} was last taken back. */
  relayMoved?(): void;
  /** Called once, when nothing of either end is left. */
  relayEnded(outcome: RelayOutcome): void;
}

export class Relay implements EndListener {
  readonly #first: ByteEnd;
  readonly #second: ByteEnd;
  readonly #owner: RelayOwner;
  #outcome: RelayOutcome | undefined;
  #open = 2;
  /** Who has said that it sends no more. */
  #firstEnded = false;
  #secondEnded = false;
  /** It ended in order and reads no more. */
  #deaf: { readonly end: ByteEnd; readonly cause: ResetCause } | undefined;
  /** Bytes handed from the first end to the second, and back. */
  forward = 0;
  backward = 0;
  /** Whoever reads the counters takes it back: then it hears of the next bytes, and need not look for them. */
  hasMoved = false;

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
    if (this.#deaf !== undefined) return this.#unheard(from);
    if (from === this.#first) this.forward += chunk.length;
    else this.backward += chunk.length;
    if (!this.hasMoved) {
      this.hasMoved = true;
      this.#owner.relayMoved?.();
    }
    if (!this.#opposite(from).write(chunk)) from.pause(pauseReasons.full);
  }

  drained(from: ByteEnd): void {
    this.#opposite(from).resume(pauseReasons.full);
  }

  ended(from: ByteEnd): void {
    if (from === this.#first) this.#firstEnded = true;
    else this.#secondEnded = true;
    this.#opposite(from).end();
  }

  /**
   * After an end, RST_STREAM(NO_ERROR) means that all was said and nothing more is wanted (RFC 9113 8.1; Envoy's CONNECT ends so when
   * its application closes). As with a closed TCP socket, what was said still arrives, and only who goes on talking is reset.
   */
  reset(from: ByteEnd, cause: ResetCause): void {
    if (cause.kind === "stream" && cause.code === noError && this.#hasEnded(from) && this.#outcome === undefined) {
      this.#deaf = { end: from, cause };
      // It said that it had no more, and not all of that can have arrived.
      if (this.#hasEnded(this.#opposite(from))) this.#outcome = this.#resetBy(from, cause);
      // It may wait for room: now it is heard, and told.
      else this.#opposite(from).resume(pauseReasons.full);
      return;
    }
    this.#outcome ??= this.#resetBy(from, cause);
    this.#opposite(from).reset();
  }

  closed(): void {
    this.#open -= 1;
    if (this.#open === 0) this.#owner.relayEnded(this.#outcome ?? { kind: "orderly" });
  }

  /** Bytes for somebody who reads no more. */
  #unheard(from: ByteEnd): void {
    if (this.#deaf === undefined || from === this.#deaf.end) return;
    this.#outcome ??= this.#resetBy(this.#deaf.end, this.#deaf.cause);
    from.reset();
  }

  #resetBy(end: ByteEnd, cause: ResetCause): RelayOutcome {
    return { kind: "reset", by: end === this.#first ? "first" : "second", cause };
  }

  #hasEnded(end: ByteEnd): boolean {
    return end === this.#first ? this.#firstEnded : this.#secondEnded;
  }

  #opposite(end: ByteEnd): ByteEnd {
    return end === this.#first ? this.#second : this.#first;
  }
}

/** Of HTTP/2 (RFC 9113 7). */
const noError = 0;
