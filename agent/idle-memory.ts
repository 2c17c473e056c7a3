/**
 * Memory follows traffic down, too. V8 collects when something is allocated, so a thread that has nothing to do keeps what it took for its
 * start, or for the last hour's load: ten megabytes and more. So whoever has been at rest for a while collects once, and then not
 * before it has grown again: a thread is stopped for tens of milliseconds where that delays nobody, and not for little.
 */
import { getHeapStatistics } from "node:v8";
import { trimHeap } from "../core/linux/process.ts";
import { collectAll } from "./garbage.ts";

export interface IdleMemoryModules {
  /** Whether nothing that matters has happened in this thread since the last call. */
  readonly isAtRest: () => boolean;
  /** The same of all threads together. */
  readonly isProcessAtRest: () => boolean;
  /** Bytes that this thread holds, garbage included. */
  readonly held: () => number;
  /** Stops this thread. */
  readonly collect: () => void;
  /** Stops whichever thread wants memory of the C library. */
  readonly trim: () => void;
}

export class IdleMemory {
  readonly #modules: IdleMemoryModules;
  #looksAtRest = 0;
  /** What was held when memory had been given back. */
  #kept: number | "unseen" = 0;
  #isMuchOver = false;
  #isTrimDue = false;

  /** @param modules as they are for whatever thread this is, where they are left out. */
  constructor({
    isAtRest = restOfThread(),
    isProcessAtRest = restOfProcess(),
    held = heldBytes,
    collect = collectAll,
    trim = trimHeap,
  }: Partial<IdleMemoryModules> = {}) {
    this.#modules = { isAtRest, isProcessAtRest, held, collect, trim };
  }

  /** Something large is done with that left much behind: the next moment of rest will do. */
  muchIsOver(): void {
    this.#isMuchOver = true;
    this.#looksAtRest = 0;
  }

  /** Called once a second. */
  look(): void {
    const { isAtRest, isProcessAtRest, held, collect } = this.#modules;
    const processRests = isProcessAtRest();
    this.#looksAtRest = isAtRest() ? this.#looksAtRest + 1 : 0;
    // Pages go back beside the program: it is the next look that sees it.
    if (this.#kept === "unseen") this.#kept = held();
    const isWorthIt = this.#isMuchOver
      ? this.#looksAtRest === 1
      : this.#looksAtRest === looksUntilIdle && held() >= this.#kept + worthBytes;
    if (isWorthIt) {
      collect();
      this.#isMuchOver = false;
      this.#isTrimDue = true;
      this.#kept = "unseen";
    }
    if (this.#isTrimDue && processRests) this.#trim();
    // What this took itself is no work.
    else if (isWorthIt) isProcessAtRest();
  }

  #trim(): void {
    this.#isTrimDue = false;
    this.#modules.trim();
    this.#modules.isProcessAtRest();
  }
}

/** By what the processor did for this thread: timers, beats and a look at each of thousands of connections are no work. */
export function restOfThread(): () => boolean {
  return rest(() => process.threadCpuUsage(), restMicroseconds);
}

function restOfProcess(): () => boolean {
  return rest(() => process.cpuUsage(), processRestMicroseconds);
}

function rest(usage: () => NodeJS.CpuUsage, most: number): () => boolean {
  let last = usage();
  return () => {
    const now = usage();
    const microseconds = now.user + now.system - last.user - last.system;
    last = now;
    return microseconds < most;
  };
}

function heldBytes(): number {
  const { total_physical_size: heap, external_memory: external } = getHeapStatistics();
  return heap + external;
}

/** In a second. */
const restMicroseconds = 20_000;
const processRestMicroseconds = 60_000;
const looksUntilIdle = 5;
const worthBytes = 2 << 20;
