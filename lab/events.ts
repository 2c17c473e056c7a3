/** What happened in the lab, in order: for `npm start`'s step list, GET /events and the tests. */
import type { Clock } from "../core/base/clock.ts";
import type { ProcessState } from "./processes.ts";

export type LabEvent =
  /** A step of the building, finished. @see tookMs */
  | { readonly kind: "step"; readonly name: string; readonly tookMs: number }
  | { readonly kind: "process"; readonly name: string; readonly state: ProcessState; readonly restarts: number }
  | { readonly kind: "pod"; readonly pod: string; readonly stage: string; readonly ready: boolean }
  | { readonly kind: "pod-gone"; readonly pod: string }
  /** Something a person should know; the lab goes on. */
  | { readonly kind: "problem"; readonly sentence: string }
  /** Everything is there but for the pods, which are starting. */
  | { readonly kind: "built" }
  /** Every pod that was there at the start runs and is ready, or has ended. */
  | { readonly kind: "ready" }
  /** The lab cannot be built or goes down: nothing follows. */
  | { readonly kind: "refused"; readonly sentence: string };

/** @property atMs milliseconds since the lab's PID 1 began. */
export type TimedEvent = LabEvent & { readonly atMs: number };

export class EventLog {
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #listeners = new Set<(event: TimedEvent) => void>();
  #past: TimedEvent[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startMs = clock.nowMs();
  }

  add(event: LabEvent): void {
    const timed = { atMs: Math.round(this.#clock.nowMs() - this.#startMs), ...event };
    this.#past.push(timed);
    if (this.#past.length > remembered * 2) this.#past = this.#past.slice(-remembered);
    for (const listener of this.#listeners) listener(timed);
  }

  /** Runs one step of the building and says how long it took. */
  async step<T>(name: string, body: () => T | Promise<T>): Promise<T> {
    const startMs = this.#clock.nowMs();
    const result = await body();
    this.add({ kind: "step", name, tookMs: Math.round(this.#clock.nowMs() - startMs) });
    return result;
  }

  /** First everything remembered, then everything new. Returns the way out. */
  follow(listener: (event: TimedEvent) => void): () => void {
    for (const event of this.#past) listener(event);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

const remembered = 5_000;
