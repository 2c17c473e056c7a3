/** What a lab could leave behind on a machine, listed so that before and after can be compared. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { listProcesses } from "../../core/linux/procfs.ts";

/** The machine's own side: must be the same after as before. */
export interface HostTraces {
  readonly links: readonly string[];
  readonly mounts: readonly string[];
  /** Unix sockets of our kind that somebody listens on. */
  readonly listeners: readonly string[];
  /** In the folders where programs like to leave things. */
  readonly files: readonly string[];
}

export function hostTraces(): HostTraces {
  return {
    links: readdirSync("/sys/class/net").sort(),
    mounts: linesOf("/proc/self/mountinfo")
      .map((line) => line.split(" ").slice(3, 5).join(" "))
      .sort(),
    listeners: linesOf("/proc/net/unix")
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , flags]) => flags === acceptsConnections)
      .map((fields) => fields[7] ?? "")
      .filter((path) => /lab|ambientd|ztunnel|istio/.test(path))
      .sort(),
    files: ["/run", "/var/run/netns", "/run/netns", "/etc"].flatMap(entriesOf).sort(),
  };
}

export interface Inhabitant {
  readonly pid: number;
  readonly command: string;
}

/** A lab's side: its namespaces, by their inode names (`net:[4026532008]`). */
export function namespacesBelow(pid: number): ReadonlySet<string> {
  const found = new Set(descendants(pid).flatMap(namespacesOf));
  for (const ours of namespacesOf(process.pid)) found.delete(ours);
  return found;
}

/**
 * Living processes that are in one of these namespaces, or hold one open.
 * @param youngest the last process that may count: the kernel gives the numbers of namespaces that are gone to new ones, and
 * what began later is somebody else's.
 */
export function inhabitants(namespaces: ReadonlySet<string>, youngest: bigint): Inhabitant[] {
  return listProcesses()
    .filter(({ startTime, state }) => startTime <= youngest && !/[ZX]/.test(state))
    .filter(({ pid }) => [...namespacesOf(pid), ...openOf(pid)].some((name) => namespaces.has(name)))
    .map(({ pid }) => ({ pid, command: commandOf(pid) }));
}

/** Start of the youngest process there is now, in clock ticks after boot. */
export function youngestNow(): bigint {
  return listProcesses().reduce((last, { startTime }) => (startTime > last ? startTime : last), 0n);
}

/** A process and all that descend from it. */
export function descendants(pid: number): number[] {
  const parents = new Map(pids().map((candidate) => [candidate, parentOf(candidate)]));
  const found = [pid];
  for (const ancestor of found) for (const [child, parent] of parents) if (parent === ancestor) found.push(child);
  return found;
}

export function commandOf(pid: number): string {
  return textOf(`/proc/${pid}/cmdline`).split("\0").join(" ").trim();
}

export function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)/m.exec(textOf(`/proc/${pid}/status`))?.[1] ?? 0);
}

/** Running, and not only waiting to be buried. */
export function isAlive(pid: number): boolean {
  return /^State:\s*[^ZX\s]/m.test(textOf(`/proc/${pid}/status`));
}

function pids(): number[] {
  return entriesOf("/proc").map(Number).filter(Number.isInteger);
}

function namespacesOf(pid: number): string[] {
  return ["net", "mnt", "pid", "user"].flatMap((kind) => targetOf(`/proc/${pid}/ns/${kind}`));
}

function openOf(pid: number): string[] {
  return entriesOf(`/proc/${pid}/fd`)
    .flatMap((fd) => targetOf(`/proc/${pid}/fd/${fd}`))
    .filter((name) => /^\w+:\[/.test(name));
}

function targetOf(path: string): string[] {
  try {
    return [readlinkSync(path)];
  } catch {
    return [];
  }
}

function entriesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linesOf(path: string): string[] {
  return textOf(path)
    .split("\n")
    .filter((line) => line !== "");
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** __SO_ACCEPTCON, as /proc/net/unix shows it. */
const acceptsConnections = "00010000";
