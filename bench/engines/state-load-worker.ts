/** A data-plane thread as the agent runs it, which also tells what the mesh costs it. */
import { getHeapStatistics } from "node:v8";
import { parentPort } from "node:worker_threads";
import { giveMemoryBack } from "../../agent/garbage.ts";
import "../../agent/worker/main.ts";

/** Asked for by `{ kind: "bench-cost" }`, answered once garbage has been collected where `gc` is set. */
export interface WorkerCost {
  readonly kind: "bench-cost";
  readonly id: number;
  readonly cpuMs: number;
  readonly heapBytes: number;
  readonly heapSpaceBytes: number;
  readonly externalBytes: number;
  /** CPU that this thread has used between two turns of its loop, at most, since the last question. */
  readonly longestTurnCpuMs: number;
  /** The same in wall time: what others on the machine do is in it. */
  readonly longestTurnMs: number;
  /** Turns of more than 2 ms of CPU. */
  readonly longTurns: number;
}

let longestCpu = 0;
let longest = 0;
let longTurns = 0;
let lastMs = performance.now();
let lastCpu = cpuMs();

setInterval(() => {
  const nowMs = performance.now();
  const nowCpu = cpuMs();
  longest = Math.max(longest, nowMs - lastMs);
  longestCpu = Math.max(longestCpu, nowCpu - lastCpu);
  if (nowCpu - lastCpu > 2) longTurns += 1;
  lastMs = nowMs;
  lastCpu = nowCpu;
}, 1).unref();

parentPort?.on("message", (message: { readonly kind: string; readonly id: number; readonly gc: boolean }) => {
  if (message.kind !== "bench-cost") return;
  const cpu = cpuMs();
  if (message.gc) giveMemoryBack();
  const { used_heap_size, total_heap_size, external_memory } = getHeapStatistics();
  parentPort?.postMessage({
    kind: "bench-cost",
    id: message.id,
    cpuMs: cpu,
    heapBytes: used_heap_size,
    heapSpaceBytes: total_heap_size,
    externalBytes: external_memory,
    longestTurnCpuMs: longestCpu,
    longestTurnMs: longest,
    longTurns,
  } satisfies WorkerCost);
  [longest, longestCpu, longTurns, lastMs, lastCpu] = [0, 0, 0, performance.now(), cpuMs()];
});

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
