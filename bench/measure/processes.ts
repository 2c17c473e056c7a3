/** What processes cost: CPU of all their threads and of their children, and resident memory. */
import { readFileSync } from "node:fs";
import { listProcesses, type ProcessStat } from "../../core/linux/procfs.ts";

/**
 * User and system time, in seconds, that these processes and their descendants have used so far, those that ended and were waited for
 * included: the difference of two such sums is what was used between them. The kernel counts to the nanosecond and tells in ticks of 10 ms.
 * @throws Error where one of the processes has ended: then a difference would be wrong.
 */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of family(pids, listProcesses())) {
    const text = readOr(`/proc/${pid}/stat`);
    if (text !== undefined) ticks += parseCpuTicks(text);
    else if (pids.includes(pid)) throw new Error(`process ${pid}, whose CPU is measured, has ended`);
  }
  return ticks / ticksPerSecond;
}

/** Resident memory of these processes and their descendants, in bytes. Pages that two of them share count twice. */
export function residentBytes(pids: readonly number[]): number {
  let bytes = 0;
  for (const pid of family(pids, listProcesses())) {
    // VmRSS is a sum of per-CPU counters and lags behind by some; smaps_rollup walks the pages, but isn't in every kernel.
    const text = readOr(`/proc/${pid}/smaps_rollup`) ?? readOr(`/proc/${pid}/status`);
    if (text !== undefined) bytes += parseResident(text);
    else if (pids.includes(pid)) throw new Error(`process ${pid}, whose memory is measured, has ended`);
  }
  return bytes;
}

/** proc_pid_stat(5): utime, stime, cutime and cstime, fields 14 to 17, together. */
export function parseCpuTicks(stat: string): number {
  // The name, field 2, may hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

/** `Rss:` of smaps_rollup, or `VmRSS:` of status; in bytes, 0 for a process without memory (a zombie). */
export function parseResident(text: string): number {
  const [, kilobytes = "0"] = /^(?:VmRSS|Rss):\s+(\d+) kB$/m.exec(text) ?? [];
  return Number(kilobytes) * 1024;
}

/** These, and all that descend from them, each once. */
export function family(pids: readonly number[], all: readonly Pick<ProcessStat, "pid" | "parent">[]): number[] {
  const found = new Set(pids);
  let size: number;
  do {
    size = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  } while (found.size > size);
  return [...found];
}

function readOr(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** USER_HZ, the same on x86-64 and arm64. */
const ticksPerSecond = 100;
