/**
 * What it costs an agent to be told of a mesh: wall and CPU time, memory per worker, the longest turn of a worker's loop, for meshes
 * of several sizes, and with which power of the size each grows.
 * Usage: node bench/engines/state-load.ts [--workloads 1000,5000,10000,50000] [--policies 1,10,…,10000] [--rounds 1] [--json FILE]
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { addressResponse, policyResponse, type MeshSize } from "../../test/support/large-mesh.ts";
import type { LoadCost } from "./state-load-run.ts";

/** One size, measured: the median round by wall time. */
export interface LoadRow {
  readonly size: MeshSize;
  readonly cost: LoadCost;
}

const { values } = parseArgs({
  options: {
    workloads: { type: "string", default: "1000,5000,10000,50000" },
    policies: { type: "string", default: "1,10,100,1000,10000" },
    rounds: { type: "string", default: "1" },
    json: { type: "string" },
  },
});
const folder = mkdtempSync(join(tmpdir(), "state-load-"));
try {
  const byWorkloads = numbers(values.workloads).map((workloads) =>
    measured({ workloads, services: Math.ceil(workloads / 25), policies: 0 }),
  );
  print("workloads", byWorkloads);
  const byPolicies = numbers(values.policies).map((policies) => measured({ workloads: 0, services: 0, policies }));
  print("policies", byPolicies);
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify([...byWorkloads, ...byPolicies], null, 1));
} finally {
  rmSync(folder, { recursive: true });
}

function measured(size: MeshSize): LoadRow {
  const files = [join(folder, "addresses"), join(folder, "policies")];
  writeFileSync(files[0]!, addressResponse(size));
  writeFileSync(files[1]!, policyResponse(size));
  const script = new URL("./state-load-run.ts", import.meta.url).pathname;
  const costs = Array.from({ length: Number(values.rounds) }, () => {
    const line = execFileSync(process.execPath, [script, ...files], { encoding: "utf8" });
    return JSON.parse(line) as LoadCost;
  }).sort((one, other) => one.wallMs - other.wallMs);
  return { size, cost: costs[costs.length >> 1]! };
}

function print(what: "workloads" | "policies", rows: readonly LoadRow[]): void {
  if (rows.length === 0) return;
  const table = rows.map(({ size, cost }) => ({ [what]: size[what], ...figuresOf(cost) }));
  say(columns(table));
  const last = rows.length - 1;
  const [from, to] = [rows[Math.max(0, last - 2)]!, rows[last]!];
  if (from.size[what] === to.size[what]) return;
  const exponents = Object.keys(figuresOf(to.cost)).map((name) => {
    const [y1 = 0, y2 = 0] = [figuresOf(from.cost)[name], figuresOf(to.cost)[name]];
    return `${name} ${(Math.log(y2 / y1) / Math.log(to.size[what] / from.size[what])).toFixed(2)}`;
  });
  say(`exponents from ${from.size[what]} to ${to.size[what]} ${what}: ${exponents.join(", ")}`);
}

function figuresOf(cost: LoadCost): Record<string, number> {
  const worst = (of: (worker: LoadCost["workers"][number]) => number): number => Math.max(...cost.workers.map(of));
  return {
    wireMB: mega(cost.bytes),
    wallMs: Math.round(cost.wallMs),
    decodeMs: Math.round(cost.decodeMs),
    takeMs: Math.round(cost.takeMs),
    mainCpuMs: Math.round(cost.mainCpuMs),
    workerCpuMs: Math.round(worst(({ cpuMs }) => cpuMs)),
    processCpuMs: Math.round(cost.processCpuMs),
    turnCpuMs: round(worst(({ longestTurnCpuMs }) => longestTurnCpuMs)),
    turnMs: round(worst(({ longestTurnMs }) => longestTurnMs)),
    sliceP50Ms: round(worst(({ slices }) => slices.p50)),
    sliceP99Ms: round(worst(({ slices }) => slices.p99)),
    sliceMaxMs: round(worst(({ slices }) => slices.max)),
    youngMs: round(worst(({ pauses }) => pauses.young)),
    oldMs: round(worst(({ pauses }) => pauses.old)),
    pausesMs: Math.round(worst(({ pauses }) => pauses.sum)),
    mainTurnMs: Math.round(cost.mainLongestTurnMs),
    workerHeapMB: mega(worst(({ heapBytes }) => heapBytes)),
    workerSpaceMB: mega(worst(({ heapSpaceBytes }) => heapSpaceBytes)),
    mainHeapMB: mega(cost.mainHeapBytes),
    rssMB: mega(cost.rssBytes),
    rssSettledMB: mega(cost.rssSettledBytes),
  };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function mega(bytes: number): number {
  return Math.round(bytes / 104_857.6) / 10;
}

function numbers(list: string): number[] {
  return list.split(",").flatMap((text) => (text === "" ? [] : [Number(text)]));
}

function columns(rows: readonly Record<string, number>[]): string {
  const names = Object.keys(rows[0] ?? {});
  const widths = names.map((name) => Math.max(name.length, ...rows.map((row) => `${row[name]}`.length)));
  const line = (cells: readonly string[]): string => cells.map((cell, at) => cell.padStart(widths[at] ?? 0)).join("  ");
  return [line(names), ...rows.map((row) => line(names.map((name) => `${row[name]}`)))].join("\n");
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
