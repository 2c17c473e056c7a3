/**
 * Memory follows traffic down, too. V8 collects when something is allocated, so a thread that has nothing to do keeps what it took for its
 * start, or for the last hour's load: ten megabytes and more. But a whole collection costs whoever comes next: V8's reserves and compiled code
 * go with it, that of every shape of which no object is left (core/base/specimens.ts keeps some), and the next some thousand connections are
 * dearer. So what is collected after moments of rest is the thread's own choice; everything is at the end of a large push, and after a minute.
 * It also takes a processor for a tenth of a second from whoever serves: so all of it waits until the whole process rests, for a minute at most.
 */
import { getHeapStatistics } from "node:v8";
import { trimHeap } from "../core/linux/process.ts";
import { collectAll, collectGarbage, collectYoung } from "./garbage.ts";

/**
 * `young`: half a millisecond, no code is lost, and the room for what is young shrinks, which is most of what a load leaves. `old`: what nobody
 * refers to, and little code while connections are open. `all`: V8's own reserves and code, too.
 */
export type Collected = "young" | "old" | "all";

export interface IdleMemoryModules {
  /** What is worth collecting after moments of rest. */
  readonly atShortRest: () => Collected;
  /** Whether nothing that matters has happened in this thread since the last call. */
  readonly isAtRest: () => boolean;
  /** The same of all threads together. */
  readonly isProcessAtRest: () => boolean;
  /** Bytes that this thread holds, garbage included. */
  readonly held: () => number;
  /** Stops this thread, for tens of milliseconds unless it is for what is young. */
  readonly collect: (what: Collected) => void;
  /** Stops whichever thread wants memory of the C library. */
  readonly trim: () => void;
}

export class IdleMemory {
  readonly #modules: IdleMemoryModules;
  #looksAtRest = 0;
  /** What this rest has seen already. */
  #seen: "nothing" | "short" | "long" = "nothing";
  /** What was held when all that nobody refers to had been collected. */
  #kept = 0;
  #isKeptUnseen = false;
  #isMuchOver = false;
  #isTrimDue = false;

  /** @param modules as they are for whatever thread this is, where they are left out. */
  constructor({
    atShortRest = () => "all",
    isAtRest = restOfThread(),
    isProcessAtRest = restOfProcess(),
    held = heldBytes,
    collect = (what) => collectors[what](),
    trim = trimHeap,
  }: Partial<IdleMemoryModules> = {}) {
    this.#modules = { atShortRest, isAtRest, isProcessAtRest, held, collect, trim };
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
    if (this.#looksAtRest === 0) this.#seen = "nothing";
    // Pages go back beside the program: it is the next look that sees it.
    if (this.#isKeptUnseen) {
      this.#kept = held();
      this.#isKeptUnseen = false;
    }
    const due = this.#due(processRests);
    if (due !== undefined) {
      collect(due);
      this.#isTrimDue = true;
    }
    if (due === "all") this.#isMuchOver = false;
    if (due === "all" || due === "old") this.#isKeptUnseen = true;
    if (this.#isTrimDue && processRests) this.#trim();
    // What this took itself is no work.
    else if (due !== undefined) isProcessAtRest();
  }

  #due(processRests: boolean): Collected | undefined {
    const isLong = this.#looksAtRest >= looksUntilUnused;
    if (this.#isMuchOver) return this.#looksAtRest > 0 && (processRests || isLong) ? "all" : undefined;
    if (this.#looksAtRest < looksUntilIdle || this.#seen === (isLong ? "long" : "short")) return undefined;
    const due = this.#isWorth ? (isLong ? "all" : this.#modules.atShortRest()) : undefined;
    if (due === "all" && !processRests && !isLong) return undefined;
    this.#seen = isLong ? "long" : "short";
    return due;
  }

  get #isWorth(): boolean {
    return this.#modules.held() >= this.#kept + worthBytes;
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

const collectors: Readonly<Record<Collected, () => void>> = {
  young: collectYoung,
  old: collectGarbage,
  all: collectAll,
};
/** In a second. */
const restMicroseconds = 20_000;
const processRestMicroseconds = 60_000;
const looksUntilIdle = 5;
/** Whoever comes then may wait for the compiler again. */
const looksUntilUnused = 60;
const worthBytes = 2 << 20;
