/** A data-plane worker that fails when it is told to, over a channel that bypasses the main thread's messages. */
import { BroadcastChannel, workerData } from "node:worker_threads";

export interface Fault {
  readonly worker: number;
  readonly what: "throw" | "loop" | "heap" | "leak" | "buffers";
}

const { index } = workerData as { readonly index: number };
const held: unknown[] = [];
const channel = new BroadcastChannel("faults of workers");
channel.onmessage = (event): void => {
  const { worker, what } = (event as { readonly data: Fault }).data;
  if (worker !== index) return;
  if (what === "throw") throw new Error("a fault that a test asked for");
  if (what === "loop") for (;;);
  // In small pieces: one large one at the limit would end the process.
  if (what === "heap") for (let list: object = {}; ;) list = { list };
  if (what === "leak")
    return void setInterval(() => held.push(Array.from({ length: 6_000 }, (_, at) => ({ at, text: `x${at}` }))), 50);
  held.push(new Uint8Array(64 << 20).fill(1), new Uint8Array(64 << 20).fill(1));
};
channel.unref();
await import("../../agent/worker/main.ts");
