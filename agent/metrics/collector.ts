/** Asks every worker what it has counted: for each scrape, and now and then in between, so that one that dies takes little with it. */
import type { Clock } from "../../core/base/clock.ts";
import type { ToWorker } from "../worker-messages.ts";
import type { Ledger } from "./ledger.ts";
import type { MetricRows } from "./rows.ts";

export interface CollectorOptions {
  readonly clock: Clock;
  readonly ledger: Ledger;
  readonly broadcast: (message: ToWorker) => void;
  /** How many workers will answer. */
  readonly workers: () => number;
}

interface Asked {
  readonly missing: Set<number>;
  readonly done: () => void;
}

export class Collector {
  readonly #options: CollectorOptions;
  readonly #asked = new Map<number, Asked>();
  #lastId = 0;
  #underWay: Promise<void> | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
  }

  /** Settles when all have answered, or a second later: a worker that is too busy is late, and what it says then still counts. */
  collect(reset: boolean): Promise<void> {
    // Whoever comes meanwhile is content with the same answers.
    this.#underWay ??= this.#ask(reset).finally(() => (this.#underWay = undefined));
    return this.#underWay;
  }

  receive(worker: number, id: number, rows: MetricRows, last: boolean): void {
    this.#options.ledger.add(worker, rows);
    if (last) this.#answered(worker, id);
  }

  /** The worker is gone, and what it was asked will not be answered. */
  lost(worker: number): void {
    this.#options.ledger.forget(worker);
    for (const id of [...this.#asked.keys()]) this.#answered(worker, id);
  }

  #ask(reset: boolean): Promise<void> {
    const { clock, broadcast, workers } = this.#options;
    const count = workers();
    if (count === 0) return Promise.resolve();
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve) => {
      const done = (): void => {
        cancel();
        this.#asked.delete(id);
        resolve();
      };
      const cancel = clock.after(answerWithinMs, done);
      this.#asked.set(id, { missing: new Set(Array.from({ length: count }, (_, worker) => worker)), done });
      broadcast({ kind: "metrics", id, reset });
    });
  }

  #answered(worker: number, id: number): void {
    const asked = this.#asked.get(id);
    if (asked === undefined) return;
    asked.missing.delete(worker);
    if (asked.missing.size === 0) asked.done();
  }
}

const answerWithinMs = 1_000;
