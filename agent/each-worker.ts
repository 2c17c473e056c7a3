/** Something that every worker is to say once. */
import type { Clock } from "../core/base/clock.ts";

export class EachWorker {
  readonly #clock: Clock;
  readonly #count: () => number;
  readonly #said = new Set<number>();
  readonly #all = Promise.withResolvers<void>();

  constructor(clock: Clock, count: () => number) {
    this.#clock = clock;
    this.#count = count;
  }

  /** @param index of a worker that has said it, or never will. */
  add(index: number): void {
    this.#said.add(index);
    if (this.#said.size >= this.#count()) this.#all.resolve();
  }

  /** Settles when all have said it. */
  ever(): Promise<void> {
    return this.#all.promise;
  }

  /** @returns whether all have said it by then. */
  within(deadlineMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(deadlineMs, () => resolve(false));
      void this.#all.promise.then(() => {
        cancel();
        resolve(true);
      });
    });
  }
}
