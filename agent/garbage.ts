/**
 * V8's collector, called by us where its own judgement is not enough. Each call but that for what is young stops its thread for tens of
 * milliseconds. Node shows the collector only to a context that is made while a flag stands, and a flag that stays makes Node compile its
 * own modules anew.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { trimHeap } from "../core/linux/process.ts";

/** What nobody refers to is freed; buffers a moment later, beside the program. */
export function collectGarbage(): void {
  collector()?.();
}

/** Only what is young, and the room for it shrinks: half a millisecond where little of it is left. What survives twice is no longer young. */
export function collectYoung(): void {
  for (let turn = 0; turn < 2; turn++) collector()?.({ type: "minor", execution: "sync" });
}

/** Everything, and what V8 keeps for later goes back to the kernel. */
export function collectAll(): void {
  collector()?.({ type: "major", execution: "sync", flavor: "last-resort" });
}

/** The same, and what the C library keeps. Other threads that allocate meanwhile wait. */
export function giveMemoryBack(): void {
  collectAll();
  trimHeap();
}

type Collector = (how?: {
  readonly type: "major" | "minor";
  readonly execution: "sync";
  readonly flavor?: "last-resort";
}) => void;

/**
 * In all threads of this process: who collects does it alone, and one helper marks beside the program. V8 would have others help, so that its
 * pause is shorter; but here other threads serve meanwhile, on processors that the helpers take from them, and a helper that waits for
 * its turn holds up the pause that it was to shorten.
 */
export function collectWithoutHelp(): void {
  for (const flag of helped) setFlagsFromString(`--no-${flag}`);
  setFlagsFromString("--concurrent-marking-max-worker-num=1");
}

/** Found once a thread, and good from then on. The flag is the process's: another thread may just take it down, so it is tried again. */
function collector(): Collector | undefined {
  for (let tries = 0; known === undefined && tries < mostTries; tries++) {
    try {
      setFlagsFromString("--expose-gc");
      known = runInNewContext("globalThis.gc") as Collector | undefined;
    } finally {
      setFlagsFromString("--no-expose-gc");
    }
  }
  return known;
}

/** Parts of a collection that V8 shares out while the program stands still. Marking is another: V8 can't be told so once it runs. */
export const helped = [
  "parallel-scavenge",
  "parallel-compaction",
  "parallel-pointer-update",
  "parallel-weak-ref-clearing",
];
let known: Collector | undefined;
const mostTries = 20;
