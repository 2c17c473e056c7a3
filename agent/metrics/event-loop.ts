/** How late a thread is for its own timers, and how busy it is. Each thread watches itself. */
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import type { Counters } from "./counters.ts";
import type { SummaryRow } from "./rows.ts";

export class EventLoopWatch {
  readonly #thread: string;
  readonly #delays: ReturnType<typeof monitorEventLoopDelay>;
  #busyMs = 0;

  /** @param thread the label: `main`, or a worker's number. */
  constructor(thread: string) {
    this.#thread = thread;
    this.#delays = monitorEventLoopDelay({ resolution: resolutionMs });
    this.#delays.enable();
  }

  /** Adds to the counters what has gone by since the last call. @param reset whether another scrape's time begins now. */
  take(counters: Counters, reset: boolean): SummaryRow {
    const labels = [this.#thread];
    const { active } = performance.eventLoopUtilization();
    counters.count("ambientd_event_loop_busy_seconds", labels, Math.max(0, active - this.#busyMs) / 1_000);
    this.#busyMs = active;
    const quantiles = [0.5, 0.99, 1].map((quantile): [string, number] => {
      const nanoseconds = quantile === 1 ? this.#delays.max : this.#delays.percentile(quantile * 100);
      return [String(quantile), this.#delays.count === 0 ? 0 : Math.max(0, nanoseconds / 1e9 - resolutionMs / 1_000)];
    });
    if (reset) this.#delays.reset();
    return { name: "ambientd_event_loop_delay_seconds", labels, quantiles };
  }

  close(): void {
    this.#delays.disable();
  }
}

/**
 * The histogram holds the time from one look to the next: this much of it is no delay. Each look wakes an idle thread: at 20 ms an
 * agent of three threads spent 7.5 ms of CPU a second on looking, at 100 ms it is 1.7.
 */
const resolutionMs = 100;
