/** Whether a namespace's connection tracking stood in the way: then what was measured beside it says nothing, of any side. */
import type { BenchPod } from "../pod.ts";

export interface ConntrackState {
  readonly entries: number;
  /** Undefined where the kernel doesn't say. */
  readonly max: number | undefined;
  readonly dropped: number;
  readonly insertFailed: number;
  readonly earlyDropped: number;
}

/** @returns undefined where the namespace has no connection tracking. */
export async function conntrackOf(pod: Pick<BenchPod, "readProc">): Promise<ConntrackState | undefined> {
  const counters = await readOr(pod, "/proc/net/stat/nf_conntrack");
  const max = await readOr(pod, "/proc/sys/net/netfilter/nf_conntrack_max");
  return counters === undefined ? undefined : parseConntrack(counters, max);
}

/** A row of hexadecimal counters for each CPU beneath their names; `entries` is the same, the namespace's, in each. */
export function parseConntrack(counters: string, max?: string): ConntrackState | undefined {
  const [heading = "", ...rows] = counters.trim().split("\n");
  const names = heading.trim().split(/\s+/);
  const table = rows.map((row) => row.trim().split(/\s+/));
  const column = (name: string): number[] => {
    const at = names.indexOf(name);
    return at < 0 ? [] : table.map((row) => Number.parseInt(row[at] ?? "0", 16));
  };
  if (!names.includes("entries") || table.length === 0) return undefined;
  const sum = (name: string): number => column(name).reduce((total, value) => total + value, 0);
  const limit = Number.parseInt(max ?? "", 10);
  return {
    entries: Math.max(...column("entries")),
    max: Number.isNaN(limit) ? undefined : limit,
    dropped: sum("drop"),
    insertFailed: sum("insert_failed"),
    earlyDropped: sum("early_drop"),
  };
}

/** Why what was measured in between is void, in words that follow the namespace's name; undefined where it isn't. */
export function voidedBy(before: ConntrackState | undefined, after: ConntrackState | undefined): string | undefined {
  if (after === undefined) return undefined;
  const since = (count: (state: ConntrackState) => number): number =>
    count(after) - (before === undefined ? 0 : count(before));
  const reasons = [
    [since((state) => state.dropped), "dropped"],
    [since((state) => state.insertFailed), "failed to insert"],
    [since((state) => state.earlyDropped), "evicted early"],
  ] as const;
  const said = reasons.filter(([count]) => count > 0).map(([count, what]) => `${what} ${count} times`);
  if (after.max !== undefined && after.entries >= after.max) said.push(`was full (${after.entries} of ${after.max})`);
  return said.length === 0 ? undefined : `connection tracking ${said.join(", ")}`;
}

async function readOr(pod: Pick<BenchPod, "readProc">, path: string): Promise<string | undefined> {
  try {
    return await pod.readProc(path);
  } catch {
    return undefined;
  }
}
