/** The node's processes, read from its /proc as it is mounted here: which pod each belongs to, and who the kubelet runs as. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Clock ticks after boot; with the pid it names a process for good. Undefined when there is no such process (any more). */
export function startTime(proc: string, pid: number): bigint | undefined {
  const text = read(join(proc, String(pid), "stat"));
  // The name may hold spaces and brackets: the fields go on after the last one.
  const field = text?.slice(text.lastIndexOf(")") + 2).split(" ")[19];
  return field !== undefined && /^\d+$/.test(field) ? BigInt(field) : undefined;
}

export function processIds(proc: string): number[] {
  try {
    return readdirSync(proc)
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number);
  } catch {
    return [];
  }
}

/** The pod that a process belongs to, by its cgroups; undefined for processes of the node and for what can't be told. */
export function podOfProcess(proc: string, pid: number): string | undefined {
  const text = read(join(proc, String(pid), "cgroup"));
  return text === undefined ? undefined : podOfCgroups(text);
}

/**
 * @param text of /proc/<pid>/cgroup: lines of `id:controllers:path`.
 * @returns the pod's UID with dashes, when the lines name one pod and one container; undefined for anything else.
 */
export function podOfCgroups(text: string): string | undefined {
  const found = new Set<string>();
  const containers = new Set<string>();
  for (const line of text.split("\n").filter((each) => each !== "")) {
    // The path may hold colons itself (containerd's `…slice:cri-containerd:<id>`).
    const path = /^\d+:[^:]*:(.*)$/.exec(line)?.[1];
    if (path === undefined) return undefined;
    const pod = podName.exec(path);
    const container = pod === null ? null : containerName.exec(path.slice(pod.index + pod[0].length));
    if (pod === null || container === null) continue;
    found.add((pod[1] ?? "").replaceAll(/[-_]/g, "").replace(bareUid, "$1-$2-$3-$4-$5"));
    containers.add(container[1] ?? "");
  }
  const [uid, ...others] = found;
  return others.length === 0 && containers.size <= 1 ? uid : undefined;
}

/** Real user id of the kubelet, or of the one program that is kubelet among other things. */
export function kubeletUser(proc: string): number | undefined {
  for (const pid of processIds(proc)) {
    const name = read(join(proc, String(pid), "comm"))?.trim();
    const isKubelet = name === "k3s" || ((name === "kubelet" || name === "kubelite") && namesKubelet(proc, pid));
    if (!isKubelet) continue;
    const uid = /^Uid:\s+(\d+)/m.exec(read(join(proc, String(pid), "status")) ?? "")?.[1];
    if (uid !== undefined) return Number(uid);
  }
  return undefined;
}

function namesKubelet(proc: string, pid: number): boolean {
  return (read(join(proc, String(pid), "cmdline")) ?? "").includes("kubelet");
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // It has ended meanwhile, or is none of ours to look at.
    return undefined;
  }
}

/** The UID's groups are joined by dashes (cgroupfs), underscores (systemd) or nothing. The outermost pod counts: who runs a cluster in a
 *  pod is that pod. */
const podName =
  /(?:^|[/:._-])pod([0-9a-f]{8}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{12})(?=[/:._-])/;
/** What follows may have segments before (`.slice/cri-containerd-`) and cgroups of the container's own behind. */
const containerName = /[/:._-]([0-9a-f]{12,})(?=$|[/:._-])/;
const bareUid = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/;
