/**
 * One load of a mesh into an agent's threads, in a process of its own: responses from files, decoded, taken in, handed to two
 * workers and acknowledged, as the agent does it. Prints one line of JSON.
 * Usage: node state-load-run.ts FILE..., each a delta response as it came in.
 */
import { readFileSync } from "node:fs";
import { getHeapStatistics } from "node:v8";
import { systemClock } from "../../core/base/clock.ts";
import { unhurried } from "../../core/base/pace.ts";
import { silentLog } from "../../core/base/log.ts";
import { readDeltaResponse } from "../../core/protocol/xds/response-reader.ts";
import type { DeltaStream } from "../../control/client/delta-stream.ts";
import type { ControlError } from "../../control/client/grpc-errors.ts";
import { runXdsSession } from "../../control/client/xds-session.ts";
import { giveMemoryBack } from "../../agent/garbage.ts";
import { handInPieces } from "../../agent/in-pieces.ts";
import { MeshInventory } from "../../agent/mesh-inventory.ts";
import { Workers } from "../../agent/workers.ts";
import { workerSettings } from "../../test/support/worker-settings.ts";
import type { WorkerCost } from "./state-load-worker.ts";

export interface LoadCost {
  readonly bytes: number;
  /** From the first response's arrival to the last ACK. */
  readonly wallMs: number;
  /** Of the main thread: the responses' own decoding, the inventory's part of the rest, all. */
  readonly decodeMs: number;
  readonly takeMs: number;
  readonly mainCpuMs: number;
  readonly mainLongestTurnMs: number;
  readonly mainHeapBytes: number;
  readonly workers: readonly Omit<WorkerCost, "kind" | "id">[];
  /** Growth of the whole process: when all is loaded, and after garbage has been collected. */
  readonly rssBytes: number;
  readonly rssSettledBytes: number;
  readonly processCpuMs: number;
}

const mesh = new MeshInventory(workerSettings.node);
const waiting = new Map<number, { readonly costs: WorkerCost[]; readonly done: (costs: WorkerCost[]) => void }>();
let asked = 0;
const workers = new Workers({
  count: 2,
  entry: new URL("./state-load-worker.ts", import.meta.url),
  readiness: { port: 0, address: "127.0.0.1" },
  settings: workerSettings,
  clock: systemClock,
  log: silentLog,
  snapshot: () => mesh.snapshot(),
  greeting: () => [],
  deliveries: () => [],
  onMessage: (message) => {
    const cost = message as unknown as WorkerCost;
    if ((cost.kind as string) !== "bench-cost") return;
    const question = waiting.get(cost.id);
    question?.costs.push(cost);
    if (question?.costs.length === 2) question.done(question.costs);
  },
  onLost: () => process.exit(1),
});

await workers.start();
const before = await settled();
await new Promise((resolve) => setTimeout(resolve, 100));
const rssBefore = process.memoryUsage.rss();
const cpuBefore = process.cpuUsage();
const mainBefore = cpuMs();
let [longestTurn, lastTurn] = [0, performance.now()];
const probe = setInterval(() => {
  const now = performance.now();
  longestTurn = Math.max(longestTurn, now - lastTurn);
  lastTurn = now;
}, 1);
const began = performance.now();
let [decodeMs, takeMs, bytes] = [0, 0, 0];
await acknowledged(process.argv.slice(2));
const wallMs = performance.now() - began;
const mainCpuMs = cpuMs() - mainBefore;
const cpu = process.cpuUsage(cpuBefore);
const rssBytes = process.memoryUsage.rss() - rssBefore;
clearInterval(probe);
const loaded = await ask(false);
const after = await settled();
const cost: LoadCost = {
  bytes,
  wallMs,
  decodeMs,
  takeMs,
  mainCpuMs,
  mainLongestTurnMs: longestTurn,
  mainHeapBytes: after.mainHeap - before.mainHeap,
  workers: loaded.map((of, at) => ({
    cpuMs: of.cpuMs - (before.workers[at]?.cpuMs ?? 0),
    heapBytes: (after.workers[at]?.heapBytes ?? 0) - (before.workers[at]?.heapBytes ?? 0),
    heapSpaceBytes: of.heapSpaceBytes - (before.workers[at]?.heapSpaceBytes ?? 0),
    externalBytes: (after.workers[at]?.externalBytes ?? 0) - (before.workers[at]?.externalBytes ?? 0),
    longestTurnCpuMs: of.longestTurnCpuMs,
    longestTurnMs: of.longestTurnMs,
    slices: of.slices,
    pauses: of.pauses,
  })),
  rssBytes,
  rssSettledBytes: process.memoryUsage.rss() - rssBefore,
  processCpuMs: (cpu.user + cpu.system) / 1000,
};
process.stdout.write(`${JSON.stringify(cost)}\n`);
await workers.terminate();
process.exit(0);

/** Runs a session over a stream that brings the files one by one, until the last has been answered. */
function acknowledged(files: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const coming = [...files];
    const stream: DeltaStream = {
      send: ({ responseNonce, errorDetail }) => {
        if (errorDetail !== undefined) reject(new Error(errorDetail.message));
        if (responseNonce !== "" && coming.length === 0) resolve();
      },
      receive: () => {
        const file = coming.shift();
        if (file === undefined) return new Promise(() => undefined);
        const message = readFileSync(file);
        bytes += message.length;
        const from = performance.now();
        const response = readDeltaResponse(message);
        decodeMs += performance.now() - from;
        return Promise.resolve(response);
      },
      close: () => undefined,
    };
    runXdsSession(
      {
        node: { id: "bench", cluster: "", metadata: undefined },
        onUpdate: async (update) => {
          const from = performance.now();
          const rejected = await handInPieces(mesh.takeInPieces(update), {
            hand: (slice) => workers.apply([slice]),
            room: (most) => workers.room(most),
            pace: unhurried(systemClock),
          });
          takeMs += performance.now() - from;
          return rejected;
        },
        onEnded: (error: ControlError) => reject(error),
      },
      { open: () => stream, clock: systemClock, log: silentLog },
    );
  });
}

function ask(gc: boolean): Promise<WorkerCost[]> {
  asked += 1;
  const id = asked;
  return new Promise((resolve) => {
    const costs: WorkerCost[] = [];
    waiting.set(id, { costs, done: resolve });
    workers.broadcast({ kind: "bench-cost", id, gc } as never);
  });
}

async function settled(): Promise<{ readonly workers: readonly WorkerCost[]; readonly mainHeap: number }> {
  const all = await ask(true);
  giveMemoryBack();
  return { workers: all, mainHeap: getHeapStatistics().used_heap_size };
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
