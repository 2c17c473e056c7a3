/** The node's folders that hold our sockets: made by the kubelet for the pod, which can't remove them, so its last act has to. */
import { rmdirSync } from "node:fs";
import { dirname, join } from "node:path";

export interface RunFolders {
  /** The node's /proc as mounted here: through its first process the node's own file system is seen (proc(5), /proc/pid/root). */
  readonly proc: string;
  /** Holds the daemon's own sockets, on the node as here. */
  readonly runDir: string;
  /** Holds those for agents; another's where the two are not neighbours. */
  readonly zdsDir: string;
}

/** Removes them, and the one they share, as far as they are empty: what somebody put there is theirs, and stays. */
export function removeRunFolders({ proc, runDir, zdsDir }: RunFolders): void {
  const shared = dirname(runDir);
  const own = dirname(zdsDir) === shared ? [runDir, zdsDir, shared] : [runDir];
  for (const folder of own) {
    try {
      rmdirSync(join(proc, "1/root", folder));
    } catch {
      // Not empty, not there, or not to be seen from here: an empty folder harms nobody.
    }
  }
}
