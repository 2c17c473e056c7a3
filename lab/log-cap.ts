/** Keeps the lab's logs, which live in memory, from growing without end: one that is too long begins anew. */
import { readdirSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../core/base/clock.ts";

export class LogCap {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  start(): void {
    this.#look();
    this.#clock.after(everyMs, () => this.start());
  }

  /** Writers append, so the next line is the first. */
  #look(): void {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (statSync(path).size > longestBytes) truncateSync(path);
    }
  }
}

const folder = "/run/lab/log";
const everyMs = 5_000;
const longestBytes = 64 * 1024 * 1024;
