/** Processes of a lab as the machine counts them: a lab has process ids of its own. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { listProcesses, type ProcessStat } from "../core/linux/procfs.ts";

/** Ids in the PID namespace of `insider` to ids as this process counts. Processes deeper inside are not in it. */
export function hostPids(insider: number): ReadonlyMap<number, number> {
  const namespace = namespaceOf(insider);
  const found = new Map<number, number>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || namespace === undefined || namespaceOf(pid) !== namespace) continue;
    const inner = innermostPid(textOf(`/proc/${pid}/status`));
    if (inner !== undefined) found.set(inner, pid);
  }
  return found;
}

/** The last number of `NSpid:` in /proc/PID/status: what a process is called where it lives. */
export function innermostPid(status: string): number | undefined {
  const [, numbers] = /^NSpid:\s+(.+)$/m.exec(status) ?? [];
  return numbers === undefined ? undefined : Number(numbers.trim().split(/\s+/).at(-1));
}

/** What became of a command: `child` and all that descends from it, without those that only led there. */
export function programsBelow(child: number, processes: readonly ProcessStat[] = listProcesses()): number[] {
  const family = new Set([child]);
  // Parents may come after their children in the list: ids are used again.
  for (let grew = true; grew;) {
    const born = processes.filter(({ pid, parent }) => family.has(parent) && !family.has(pid));
    for (const { pid } of born) family.add(pid);
    grew = born.length > 0;
  }
  return processes.flatMap(({ pid, name }) => (family.has(pid) && !leading.has(name) ? [pid] : []));
}

const leading: ReadonlySet<string> = new Set(["nsenter", "setpriv"]);

function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined; // ended, or another user's
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
