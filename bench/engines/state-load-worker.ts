/** A data-plane thread as the agent runs it, which also tells what the mesh costs it. */
import { constants, PerformanceObserver } from "node:perf_hooks";
import { getHeapStatistics } from "node:v8";
import { parentPort } from "node:worker_threads";
import { giveMemoryBack } from "../../agent/garbage.ts";
import "../../agent/worker/main.ts";
import type { MeshSlice } from "../../agent/mesh-slice.ts";
import { WorkerMesh } from "../../agent/worker/mesh.ts";

/** Asked for by `{ kind: "bench-cost" }`, answered once garbage has been collected where `gc` is set. */
export interface WorkerCost {
  readonly kind: "bench-cost";
  readonly id: number;
  readonly cpuMs: number;
  readonly heapBytes: number;
  readonly heapSpaceBytes: number;
  readonly externalBytes: number;
  /** CPU that this thread has used between two beats of a timer of 1 ms, at most, since the last question. */
  readonly longestTurnCpuMs: number;
  /** The same in wall time: what others on the machine do is in it. */
  readonly longestTurnMs: number;
  /** What applying one slice took of wall time: the median, the 99th of a hundred, the longest; and how many there were. */
  readonly slices: { readonly p50: number; readonly p99: number; readonly max: number; readonly count: number };
  /** Pauses of the collector, of wall time: the longest young one, the longest old one, how many of each, and all together. */
  readonly pauses: {
    readonly young: number;
    readonly old: number;
    readonly youngs: number;
    readonly olds: number;
    readonly sum: number;
  };
}

let longestCpu = 0;
interface Pause {
  readonly duration: number;
  readonly detail: { readonly kind: number };
}

let longest = 0;
let sliceMs: number[] = [];
const { prototype } = WorkerMesh;
const apply: (this: WorkerMesh, slice: MeshSlice) => void = Reflect.get(prototype, "apply");
prototype.apply = function (slice) {
  const from = performance.now();
  apply.call(this, slice);
  sliceMs.push(performance.now() - from);
};

const pauses = { young: 0, old: 0, youngs: 0, olds: 0, sum: 0 };
let lastMs = performance.now();
let lastCpu = cpuMs();

setInterval(() => {
  const nowMs = performance.now();
  const nowCpu = cpuMs();
  longest = Math.max(longest, nowMs - lastMs);
  longestCpu = Math.max(longestCpu, nowCpu - lastCpu);
  lastMs = nowMs;
  lastCpu = nowCpu;
}, 1).unref();

new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { duration, detail } = entry as unknown as Pause;
    const { kind } = detail;
    pauses.sum += duration;
    if (kind === constants.NODE_PERFORMANCE_GC_MINOR) {
      pauses.young = Math.max(pauses.young, duration);
      pauses.youngs += 1;
    } else {
      pauses.old = Math.max(pauses.old, duration);
      pauses.olds += 1;
    }
  }
}).observe({ entryTypes: ["gc"] });

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
    slices: { p50: quantile(0.5), p99: quantile(0.99), max: quantile(1), count: sliceMs.length },
    pauses: { ...pauses },
  } satisfies WorkerCost);
  [longest, longestCpu, sliceMs, lastMs, lastCpu] = [0, 0, [], performance.now(), cpuMs()];
  // What is collected because it was asked for is told a moment later.
  setTimeout(() => Object.assign(pauses, { young: 0, old: 0, youngs: 0, olds: 0, sum: 0 }), 50);
});

function quantile(of: number): number {
  const sorted = sliceMs.toSorted((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * of))] ?? 0;
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
