/** Whether a soak has shown what it was run for: nothing lost, and nothing that grows. */
import { nodes } from "./mesh.ts";
import type { SoakReport, SoakRow } from "./soak.ts";

/** @returns one sentence for each thing that is not as it should be. */
export function complaints({ rows, lost }: SoakReport): string[] {
  const found = [...lost];
  // While everything starts, caches fill and code is compiled.
  const settled = rows.slice(Math.ceil(rows.length / 4));
  const [early, late] = [settled.slice(0, settled.length / 2), settled.slice(settled.length / 2)];
  for (const node of nodes) {
    const growth = (read: (row: SoakRow) => number): [number, number] => [
      median(early.map(read)),
      median(late.map(read)),
    ];
    const of = (row: SoakRow): SoakRow["vitals"][number] | undefined => row.vitals.find((one) => one.node === node);
    const [rssBefore, rssAfter] = growth((row) => of(row)?.rss ?? 0);
    if (rssAfter > rssBefore * 1.1 + (8 << 20)) {
      found.push(`${node}: the resident set grew from ${mebibytes(rssBefore)} to ${mebibytes(rssAfter)} MiB`);
    }
    const [fdsBefore, fdsAfter] = growth((row) => of(row)?.descriptors ?? 0);
    if (fdsAfter > fdsBefore + 20) found.push(`${node}: descriptors grew from ${fdsBefore} to ${fdsAfter}`);
  }
  return found;
}

/** One line for a terminal. */
export function lineOf(row: SoakRow): string {
  const { seconds, requests, echoes, transfers, churn, lost, vitals } = row;
  const numbers = [seconds, requests, echoes, transfers, churn, lost].map((value) => String(value).padStart(9));
  const agents = vitals.map((one) => {
    return `${mebibytes(one.rss).padStart(7)} ${String(one.descriptors).padStart(5)} ${one.lagMs.toFixed(1).padStart(7)}`;
  });
  return [...numbers, ...agents].join(" ");
}

export const heading = [
  ...["seconds", "requests", "echoes", "transfers", "changes", "lost"].map((word) => word.padStart(9)),
  ...nodes.map((node) => `${node.padStart(7)}: RSS MiB, descriptors, lag p99 ms`),
].join(" ");

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function mebibytes(octets: number): string {
  return (octets / (1 << 20)).toFixed(0);
}
