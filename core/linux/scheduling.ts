/** How the calling thread shares a processor with others. */
import { lastError, type LinuxError } from "./errno.ts";
import { libc } from "./libc.ts";

/**
 * This thread would rather have the processor soon than for long: who asks for a shorter turn than the thread that runs takes over
 * from it when woken, and does not wait until it has had its own. Over time each gets the same share as before. Needs no privilege, and
 * can be taken back. Linux 6.12 (sched_attr.sched_runtime of SCHED_OTHER); an earlier one takes it and does as it did.
 * @param nanoseconds 100,000 to 100,000,000; the kernel's own is some 3,000,000.
 */
export function preferTurnsOf(nanoseconds: number): LinuxError | undefined {
  const attributes = own();
  if (!Buffer.isBuffer(attributes)) return attributes;
  attributes.writeBigUInt64LE(BigInt(nanoseconds), runtimeAt);
  return libc.syscall(calls.set, 0, attributes, 0, 0) === 0 ? undefined : lastError("sched_setattr");
}

/** What this thread has asked for, in nanoseconds; 0 where the kernel does not say. */
export function preferredTurn(): number | LinuxError {
  const attributes = own();
  return Buffer.isBuffer(attributes) ? Number(attributes.readBigUInt64LE(runtimeAt)) : attributes;
}

function own(): Buffer | LinuxError {
  const attributes = Buffer.alloc(attributesSize);
  attributes.writeUInt32LE(attributesSize);
  return libc.syscall(calls.get, 0, attributes, attributesSize, 0) === 0 ? attributes : lastError("sched_getattr");
}

/** struct sched_attr, linux/sched/types.h: its first version will do. */
const attributesSize = 48;
/** sched_runtime. */
const runtimeAt = 24;
/** C libraries have no name for these, or only lately. */
const calls = process.arch === "arm64" ? { set: 274, get: 275 } : { set: 314, get: 315 };
