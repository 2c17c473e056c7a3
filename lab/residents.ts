/** Processes that live in a network namespace: what a pod's end, or the lab's, must leave none of. */
import { closeSync } from "node:fs";
import { LinuxError } from "../core/linux/errno.ts";
import { namespaceIdentity, openNamespace } from "../core/linux/namespace.ts";
import { listProcesses } from "../core/linux/procfs.ts";

/** Kills every process in that namespace, such as one that was started into it from outside. */
export function killResidents(netns: number): void {
  for (const pid of residents(netns)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended meanwhile.
    }
  }
}

function residents(netns: number): number[] {
  const { dev, ino } = namespaceIdentity(netns);
  return listProcesses().flatMap(({ pid }) => {
    if (pid === process.pid) return [];
    const theirs = openNamespace(`/proc/${pid}/ns/net`);
    if (theirs instanceof LinuxError) return []; // ended, or a zombie
    const identity = namespaceIdentity(theirs);
    closeSync(theirs);
    return identity.ino === ino && identity.dev === dev ? [pid] : [];
  });
}
