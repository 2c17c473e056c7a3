/**
 * Memory follows traffic down, too. V8 collects when something is allocated, so a thread that has nothing to do keeps what it took for its
 * start, or for the last hour's load: ten megabytes and more. So whoever has been at rest for a while collects once, and then not
 * before it has grown again: a thread is stopped for tens of milliseconds where that delays nobody, and not for little.
 */
import { getHeapStatistics } from "node:v8";
import { giveMemoryBack } from "./garbage.ts";

export interface IdleMemoryModules {
  /** Whether nothing that matters has happened since the last call. */
  readonly isAtRest: () => boolean;
  /** Bytes that this thread holds, garbage included. */
  readonly held: () => number;
  readonly giveBack: () => void;
}

export class IdleMemory {
  readonly #modules: IdleMemoryModules;
  #looksAtRest = 0;
  /** What was held when memory had been given back. */
  #kept: number | "unseen" = 0;

  /** @param modules as they are for whatever thread this is, where they are left out. */
  constructor({
    isAtRest = restOfThread(),
    held = heldBytes,
    giveBack = giveMemoryBack,
  }: Partial<IdleMemoryModules> = {}) {
    this.#modules = { isAtRest, held, giveBack };
  }

  /** Called once a second. */
  look(): void {
    const { isAtRest, held, giveBack } = this.#modules;
    this.#looksAtRest = isAtRest() ? this.#looksAtRest + 1 : 0;
    // Pages go back beside the program: it is the next look that sees it.
    if (this.#kept === "unseen") this.#kept = held();
    if (this.#looksAtRest !== looksUntilIdle || held() < this.#kept + worthBytes) return;
    giveBack();
    this.#kept = "unseen";
  }
}

/** By what the processor did for this thread: timers, beats and a look at each of thousands of connections are no work. */
export function restOfThread(): () => boolean {
  let last = process.threadCpuUsage();
  return () => {
    const now = process.threadCpuUsage();
    const microseconds = now.user + now.system - last.user - last.system;
    last = now;
    return microseconds < restMicroseconds;
  };
}

function heldBytes(): number {
  const { total_physical_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

/** In a second. */
const restMicroseconds = 20_000;
const looksUntilIdle = 5;
const worthBytes = 2 << 20;
