/** What a stream may ask of us: some at once, some a second, and an answer for each response. A client that spins runs dry. */

export class RequestBudget {
  #credit = most;
  #atMs: number;

  /** @param nowMs monotonic milliseconds, here and below. */
  constructor(nowMs: number) {
    this.#atMs = nowMs;
  }

  /** One request has come: whether it may be looked at. */
  spend(nowMs: number): boolean {
    this.#credit = Math.min(most, this.#credit + ((nowMs - this.#atMs) / 1_000) * perSecond);
    this.#atMs = nowMs;
    if (this.#credit < 1) return false;
    this.#credit -= 1;
    return true;
  }

  /** A response was sent: its answer is free. */
  earn(): void {
    this.#credit += 1;
  }
}

const most = 1_000;
const perSecond = 50;
