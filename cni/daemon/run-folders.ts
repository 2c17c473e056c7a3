/** The node's folders that hold our sockets: made by the kubelet for the pod, which can't remove them, so its last act has to. */
import { readlinkSync, rmdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

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
      rmdirSync(inside(join(proc, "1/root"), folder));
    } catch {
      // Not empty, not there, or not to be seen from here: an empty folder harms nobody.
    }
  }
}

/** A link's target counts from `root`, where the kernel would take it from our own (/var/run is a link to /run as a rule). */
function inside(root: string, path: string): string {
  let known = "/";
  let rest = partsOf(path);
  for (let links = 0; rest.length > 0 && links <= mostLinks;) {
    const [name = "", ...more] = rest;
    const target = linkTarget(join(root, known, name));
    if (target === undefined) {
      known = resolve(known, name);
      rest = more;
    } else {
      rest = [...partsOf(resolve(known, target)), ...more];
      known = "/";
      links += 1;
    }
  }
  return join(root, known, ...rest);
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "");
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** As the kernel has it (path_resolution(7)). */
const mostLinks = 40;
