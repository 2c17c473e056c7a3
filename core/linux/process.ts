/** Ties between processes: dying with one's parent, and burying the orphans that a PID 1 inherits. */
import { constants } from "node:os";
import { lastError, type LinuxError } from "./errno.ts";
import { libc } from "./libc.ts";
import { listProcesses } from "./procfs.ts";

/**
 * The kernel sends us `signal` when our parent ends, however it ends. To be called early and from the main thread; what
 * counts is the parent's thread that spawned us, so a parent spawns from its own main thread.
 * @param parent the process id that our parent has for us, where the caller was told it: if it is already another one then
 * the parent ended before this call and the signal is sent at once. Without it only a change during the call is seen.
 */
export function dieWithParent(signal: NodeJS.Signals, parent = process.ppid): LinuxError | undefined {
  if (libc.prctl(PR_SET_PDEATHSIG, constants.signals[signal], 0, 0, 0) !== 0) return lastError("prctl", signal);
  if (process.ppid !== parent) process.kill(process.pid, signal);
  return undefined;
}

/** Makes this process the one that inherits its descendants' orphans, without being PID 1. */
export function becomeSubreaper(): LinuxError | undefined {
  return libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) === 0 ? undefined : lastError("prctl", "subreaper");
}

/**
 * Waits for zombies whose parent we have become, each by its own id, and returns those ids.
 * @param except children that Node spawned: libuv waits for them itself, and taking their status away would lose their 'exit'.
 */
export function reapOrphans(except: ReadonlySet<number>): number[] {
  const zombies = listProcesses().filter(({ parent, state }) => parent === process.pid && state === "Z");
  const orphans = zombies.map(({ pid }) => pid).filter((pid) => !except.has(pid));
  return orphans.filter((pid) => libc.waitpid(pid, null, WNOHANG) === pid);
}

/** RLIMIT_CORE 0, soft and hard: what is in memory does not reach a disk when this process crashes. */
export function forbidCoreFiles(): LinuxError | undefined {
  return libc.setrlimit(RLIMIT_CORE, Buffer.alloc(16)) === 0 ? undefined : lastError("setrlimit", "core");
}

/** Not dumpable: other processes of this user neither trace this one nor read its memory; /proc/<pid> belongs to root. */
export function forbidInspection(): LinuxError | undefined {
  return libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) === 0 ? undefined : lastError("prctl", "dumpable");
}

/** What malloc keeps for later goes back to the kernel, of all threads. */
export function trimHeap(): void {
  libc.malloc_trim?.(0);
}

const RLIMIT_CORE = 4;
const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
