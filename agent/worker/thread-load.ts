/** How busy the calling thread is. */
import { threadCpuUsage } from "node:process";
import type { Clock } from "../../core/base/clock.ts";

export class ThreadLoad {
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #usage: () => { readonly user: number; readonly system: number };
  #sinceMs: number;
  #before: number;

  /** @param usage microseconds of processor time. */
  constructor(clock: Pick<Clock, "nowMs">, usage: () => { user: number; system: number } = threadCpuUsage) {
    this.#clock = clock;
    this.#usage = usage;
    this.#sinceMs = clock.nowMs();
    this.#before = this.#spent();
  }

  /** @returns the share of a processor that this thread has had since the last call, 0 to 1. */
  take(): number {
    const [nowMs, spent] = [this.#clock.nowMs(), this.#spent()];
    const [passedMs, spentMs] = [nowMs - this.#sinceMs, (spent - this.#before) / 1_000];
    [this.#sinceMs, this.#before] = [nowMs, spent];
    return passedMs > 0 ? Math.min(1, spentMs / passedMs) : 0;
  }

  #spent(): number {
    const { user, system } = this.#usage();
    return user + system;
  }
}
