/** One run as text: a line for each figure and side. */
import { figure, figures } from "../figures.ts";
import { machineLine } from "./machine.ts";
import { atMinute, numeral, ratio } from "./numbers.ts";
import { sideTitles, type Report } from "./report.ts";
import type { Row } from "./rows.ts";

export function heading({
  machine,
  startedAt,
  rounds,
  seconds,
  workers,
  sides,
}: Omit<Report, "rows" | "curves" | "notes" | "verdicts">): string {
  const titles = sides.map((side) => `${side} (${sideTitles[side]})`).join(", ");
  const how = `${rounds} ${rounds === 1 ? "round" : "rounds"} of ${seconds} s, ${workers} workers, ${atMinute(startedAt)}`;
  return `${machineLine(machine)}\n${how}\n${titles}\n`;
}

/** Median, least and most, and the median in terms of each other side's. */
export function table(rows: readonly Row[]): string {
  const lines = [["", "side", "median", "min", "max", "unit", "in terms of the others"]];
  for (const { id, title, better } of figures) {
    const own = rows.filter((row) => row.figure === id);
    own.forEach((row, i) => lines.push([i === 0 ? `${title} (${better} is better)` : "", ...cells(row)]));
  }
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines.map((line) => joined(line, widths)).join("");
}

function cells(row: Row): string[] {
  const others = Object.entries(row.vs).map(([side, times]) => `${ratio(times)} ${side}`);
  const { unit } = figure(row.figure);
  return [row.side, numeral(row.median), numeral(row.min), numeral(row.max), unit, others.join(", ")];
}

/** Numbers end, and words begin, in one column. */
function joined(line: readonly string[], widths: readonly number[]): string {
  const padded = line.map((cell, column) => {
    const width = widths[column] ?? 0;
    return column >= 2 && column <= 4 ? cell.padStart(width) : cell.padEnd(width);
  });
  return `${padded.join("  ").trimEnd()}\n`;
}
