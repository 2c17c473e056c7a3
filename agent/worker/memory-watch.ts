/**
 * A worker's own memory against its budget. V8 ends a thread whose heap is full, but not always the thread alone: one large allocation at
 * the limit ends the process (tried on Node 24: a Map that grows), and buffers outside the heap have no limit at all. So a worker looks
 * before that, and does not take garbage for load.
 */
import { collectGarbage } from "../garbage.ts";

export interface MemoryBudget {
  /** Bytes of V8's heap. */
  readonly heap: number;
  /** Bytes of buffers outside it. */
  readonly buffers: number;
}

export interface MemoryUse {
  readonly heapUsed: number;
  readonly arrayBuffers: number;
}

/** `full`: no more work for now. `hopeless`: only the end of this thread frees what is held. */
export type MemoryState = "fine" | "full" | "hopeless";

export class MemoryWatch {
  readonly #budget: MemoryBudget;
  readonly #use: () => MemoryUse;
  readonly #collect: () => void;
  /** Looks since garbage was collected. */
  #looks = looksBetweenCollections;
  #state: MemoryState = "fine";

  /** @param collect frees what nobody refers to, by the next look. */
  constructor(budget: MemoryBudget, use: () => MemoryUse = () => process.memoryUsage(), collect = collectGarbage) {
    this.#budget = budget;
    this.#use = use;
    this.#collect = collect;
  }

  /** Called at regular intervals. Bad news is believed only right after a collection, which stops the thread: there are few of them. */
  look(): MemoryState {
    const seen = this.#judge();
    this.#looks += 1;
    if (rank[seen] <= rank[this.#state] || this.#looks === 1) this.#state = seen;
    else if (seen === "hopeless" || this.#looks > looksBetweenCollections) {
      this.#collect();
      this.#looks = 0;
    }
    return this.#state;
  }

  #judge(): MemoryState {
    const { heapUsed, arrayBuffers } = this.#use();
    const [heap, buffers] = [heapUsed / this.#budget.heap, arrayBuffers / this.#budget.buffers];
    if (heap >= heapHopeless || buffers >= buffersHopeless) return "hopeless";
    return heap >= heapFull || buffers >= 1 ? "full" : "fine";
  }
}

const rank: Readonly<Record<MemoryState, number>> = { fine: 0, full: 1, hopeless: 2 };
const heapFull = 0.8;
const heapHopeless = 0.9;
const buffersHopeless = 2;
const looksBetweenCollections = 40;
