/** What this process may use of descriptors and memory, how much it does, and each worker's share. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import type { Clock } from "../core/base/clock.ts";
import type { MemoryBudget } from "./worker/memory-watch.ts";
import type { VitalSigns } from "./vital-signs.ts";

/** RLIMIT_NOFILE as it is in force: Node raises the soft one to the hard one when it starts. 0 where the kernel does not say. */
export function descriptorLimit(): number {
  const [, soft = ""] = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return soft === "unlimited" ? 0 : Number(soft);
}

/** How many descriptors are open. One system call since Linux 6.2; before, one for each few hundred of them. */
export function openDescriptors(): number {
  const { size } = statSync(descriptors);
  return size > 0 ? size : readdirSync(descriptors).length;
}

/** Bytes: the container's limit, or all that the machine has. */
export function memoryLimit(): number {
  // Without a limit it is a number beyond any machine's, or 0.
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** @param bytes that the process may have; a quarter stays for the main thread and the code. */
export function shareOfMemory(bytes: number, workers: number): MemoryBudget {
  const half = Math.max(64, Math.round((bytes * 0.75) / workers / 2 / megabyte));
  return { heap: Math.min(4_096, half) * megabyte, buffers: half * megabyte };
}

/** Has workers know how many descriptors there are, from now on. @returns what ends it. */
export function watchDescriptors(signs: VitalSigns, clock: Clock): () => void {
  const limit = descriptorLimit();
  // Where counting means reading a folder of a hundred thousand, not four times a second.
  const everyMs = statSync(descriptors).size > 0 ? 250 : 2_000;
  let cancel = (): void => {};
  const look = (): void => {
    signs.counted(openDescriptors(), limit);
    cancel = clock.after(everyMs, look);
  };
  look();
  return () => cancel();
}

const megabyte = 1_048_576;
const descriptors = "/proc/self/fd";
