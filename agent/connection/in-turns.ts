/**
 * Work on many things, about a millisecond at a time: between two turns everybody else is served. What is added while it waits is done
 * once; what is taken back is not done at all.
 */

export interface TurnModules {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  /** Runs it after what is ready by now: setImmediate. */
  readonly later: (run: () => void) => void;
}

export class InTurns<Item> {
  readonly #modules: TurnModules;
  readonly #work: (item: Item) => void;
  readonly #waiting = new Set<Item>();
  #isScheduled = false;

  constructor(modules: TurnModules, work: (item: Item) => void) {
    this.#modules = modules;
    this.#work = work;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Begins at once; what is left when the turn is over follows later. */
  add(items: Iterable<Item>): void {
    for (const item of items) this.#waiting.add(item);
    if (!this.#isScheduled) this.#turn();
  }

  drop(item: Item): void {
    this.#waiting.delete(item);
  }

  #turn(): void {
    this.#isScheduled = true;
    const endMs = this.#modules.nowMs() + turnMs;
    let done = 0;
    for (const item of this.#waiting) {
      this.#waiting.delete(item);
      this.#work(item);
      done += 1;
      if (done % betweenLooks === 0 && this.#modules.nowMs() >= endMs) break;
    }
    this.#isScheduled = this.#waiting.size > 0;
    if (this.#isScheduled) this.#modules.later(() => this.#turn());
  }
}

const turnMs = 1;
/** A look at the clock costs about as much as the cheapest item. */
const betweenLooks = 8;
