/** Time as an argument: monotonic milliseconds for deadlines, wall-clock milliseconds for certificates and logs. */

export interface Clock {
  /** Monotonic milliseconds since an arbitrary start. */
  nowMs(): number;
  /** Milliseconds since 1970 (may step). */
  wallMs(): number;
  /** Calls `fire` once after `delayMs`; the returned function cancels it. A timer never keeps the process alive. */
  after(delayMs: number, fire: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, fire) {
    // setTimeout fires at once beyond 2^31-1 ms: wait in steps.
    const longest = 0x7fff_ffff;
    let timer = setTimeout(step, Math.min(delayMs, longest), delayMs - longest);
    timer.unref();
    function step(restMs: number): void {
      if (restMs <= 0) return fire();
      timer = setTimeout(step, Math.min(restMs, longest), restMs - longest);
      timer.unref();
    }
    return () => clearTimeout(timer);
  },
};

/** A clock that stands still until it is told to go on: for tests. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #wallMs: number;
  #timers: { dueMs: number; fire: () => void }[] = [];

  constructor(wallMs = Date.UTC(2030, 0, 1)) {
    this.#wallMs = wallMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  after(delayMs: number, fire: () => void): () => void {
    const timer = { dueMs: this.#nowMs + delayMs, fire };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Milliseconds until the next timer, or undefined when none is set. */
  nextTimerMs(): number | undefined {
    const due = this.#timers.map((timer) => timer.dueMs);
    return due.length === 0 ? undefined : Math.max(0, Math.min(...due) - this.#nowMs);
  }

  /** Moves both clocks on and fires what became due, in order. */
  advance(byMs: number): void {
    const end = this.#nowMs + byMs;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.dueMs <= end).sort((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#wallMs += Math.max(0, next.dueMs - this.#nowMs);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.fire();
    }
    this.#wallMs += end - this.#nowMs;
    this.#nowMs = end;
  }
}
