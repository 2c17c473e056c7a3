/** Streams at a steady rate: when a thousand nodes come back at once each waits its turn, and none is sent away for it. */
import type { Clock } from "../../../core/base/clock.ts";

export interface AdmissionOptions {
  readonly clock: Clock;
  readonly perSecond: number;
  /** Milliseconds somebody may wait; who would have to wait longer is sent away. */
  readonly longestWaitMs: number;
}

export class Admission {
  readonly #options: AdmissionOptions;
  /** Monotonic milliseconds at which the next one may enter if it came later than the ones before. */
  #nextMs = 0;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Settles when it is the caller's turn: true, or at once with false when the wait would be too long. */
  enter(): Promise<boolean> {
    const { clock, perSecond, longestWaitMs } = this.#options;
    const nowMs = clock.nowMs();
    // A second's worth may enter at once.
    const earliestMs = Math.max(this.#nextMs, nowMs - 1_000);
    const waitMs = earliestMs - nowMs;
    if (waitMs > longestWaitMs) return Promise.resolve(false);
    this.#nextMs = earliestMs + 1_000 / perSecond;
    if (waitMs <= 0) return Promise.resolve(true);
    return new Promise((resolve) => clock.after(waitMs, () => resolve(true)));
  }
}
