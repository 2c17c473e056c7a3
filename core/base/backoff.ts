/** How long to wait before the next attempt: doubling, capped, with jitter so that a thousand nodes don't return at once. */
import type { Random } from "./random.ts";

export interface BackoffOptions {
  readonly firstMs: number;
  readonly capMs: number;
  /** Share of the delay that is random, 0 to 1: 0.2 yields 80 to 120 %. */
  readonly jitter: number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: Random;
  #nextMs: number;

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options;
    this.#random = random;
    this.#nextMs = options.firstMs;
  }

  /** Milliseconds to wait now; the following call answers with twice as much, up to the cap. */
  next(): number {
    const delay = this.#nextMs;
    this.#nextMs = Math.min(delay * 2, this.#options.capMs);
    return delay * (1 + this.#options.jitter * (2 * this.#random() - 1));
  }

  /** After a success. */
  reset(): void {
    this.#nextMs = this.#options.firstMs;
  }
}
