/**
 * Memory follows traffic down, too. V8 collects when something is allocated, so a thread that has nothing to do keeps what it took for its
 * start, or for the last hour's load: some ten megabytes each. So whoever has had nothing to do for a while collects once, and then
 * not before it has grown again: a thread is stopped for tens of milliseconds where that delays nobody, and not for little.
 */
import { getHeapStatistics } from "node:v8";
import { giveMemoryBack } from "./garbage.ts";

export interface IdleMemoryModules {
  /** Milliseconds this thread has been at work so far. */
  readonly busyMs: () => number;
  /** Bytes it holds, garbage included. */
  readonly held: () => number;
  readonly giveBack: () => void;
}

export class IdleMemory {
  readonly #modules: IdleMemoryModules;
  #busyMs: number;
  /** Looks since it last worked. */
  #quietLooks = 0;
  /** What was held when memory had been given back. */
  #kept: number | "unseen" = 0;

  constructor(modules: IdleMemoryModules = thisThread) {
    this.#modules = modules;
    this.#busyMs = modules.busyMs();
  }

  /** Called once a second. */
  look(): void {
    const { busyMs, held, giveBack } = this.#modules;
    const now = busyMs();
    const isQuiet = now - this.#busyMs < quietMs;
    this.#busyMs = now;
    // Pages go back beside the program: it is the next look that sees it.
    if (this.#kept === "unseen") this.#kept = held();
    this.#quietLooks = isQuiet ? this.#quietLooks + 1 : 0;
    if (this.#quietLooks !== looksUntilIdle || held() < this.#kept + worthBytes) return;
    giveBack();
    this.#kept = "unseen";
  }
}

const thisThread: IdleMemoryModules = {
  busyMs: () => performance.eventLoopUtilization().active,
  held() {
    const { total_physical_size: heap, external_memory: external } = getHeapStatistics();
    return heap + external;
  },
  giveBack: giveMemoryBack,
};

/** In a second: timers, beats and a look at everything take a good part of one. */
const quietMs = 5;
const looksUntilIdle = 5;
const worthBytes = 4 << 20;
