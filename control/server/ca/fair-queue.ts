/** Work in turns: every caller's next job, one caller after the other, so that one that floods delays only itself. */

export class FairQueue {
  readonly #mostPerCaller: number;
  /** Callers with work, in the order of their turns. */
  readonly #jobs = new Map<string, (() => void)[]>();
  #isRunning = false;

  /** @param mostPerCaller jobs of one caller that may wait; more are turned away. */
  constructor(mostPerCaller: number) {
    this.#mostPerCaller = mostPerCaller;
  }

  /** Runs `job` when it is the caller's turn; undefined when too much of this caller's waits already. */
  run<T>(caller: string, job: () => T): Promise<T> | undefined {
    const jobs = this.#jobs.get(caller) ?? [];
    if (jobs.length >= this.#mostPerCaller) return undefined;
    this.#jobs.set(caller, jobs);
    const result = new Promise<T>((resolve, reject) => {
      jobs.push(() => {
        try {
          resolve(job());
        } catch (thrown) {
          reject(thrown instanceof Error ? thrown : new Error(String(thrown)));
        }
      });
    });
    if (!this.#isRunning) this.#continue();
    return result;
  }

  /** One job per turn of the event loop: streams and timers get theirs in between. */
  #continue(): void {
    this.#isRunning = this.#jobs.size > 0;
    if (this.#isRunning) setImmediate(() => this.#turn());
  }

  #turn(): void {
    const next = this.#jobs.entries().next().value;
    if (next !== undefined) {
      const [caller, jobs] = next;
      this.#jobs.delete(caller);
      const job = jobs.shift();
      if (jobs.length > 0) this.#jobs.set(caller, jobs);
      job?.();
    }
    this.#continue();
  }
}
