/** The rows as text for a terminal: what differs from its prediction is red. */
import { renderOutcome } from "./outcome.ts";
import type { Row } from "./rows.ts";

export interface Paint {
  readonly good: (text: string) => string;
  readonly bad: (text: string) => string;
  readonly quiet: (text: string) => string;
}

export const plain: Paint = { good: (text) => text, bad: (text) => text, quiet: (text) => text };

export const colours: Paint = {
  good: (text) => `\u001b[32m${text}\u001b[0m`,
  bad: (text) => `\u001b[31;1m${text}\u001b[0m`,
  quiet: (text) => `\u001b[2m${text}\u001b[0m`,
};

const headings = ["CLIENT", "TARGET", "REQUESTS", "AS DECIDED", "WHAT HAPPENED", "SERVED BY"];

/** What a terminal has room for; a table that wraps or scrolls could not be drawn over. */
export interface Room {
  readonly columns: number;
  readonly lines: number;
}

const unbounded: Room = { columns: Infinity, lines: Infinity };

export function renderRows(rows: readonly Row[], paint: Paint, room: Room = unbounded): string {
  const lines = rows.map((row) => [
    row.client,
    row.target,
    String(row.requests),
    verdict(row),
    row.outcome === undefined ? "…" : renderOutcome(row.outcome),
    row.servedBy ?? "",
  ]);
  const widths = headings.map((heading, i) => Math.max(heading.length, ...lines.map((line) => line[i]?.length ?? 0)));
  const pad = (line: readonly string[]): string => {
    const text = line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
    return text.length <= room.columns ? text : `${text.slice(0, room.columns - 1)}…`;
  };
  const body = lines.map((line, i) => paintFor(rows[i], paint)(pad(line)));
  const all = [paint.quiet(pad(headings)), ...body];
  const fitting = all.length <= room.lines ? all : [...all.slice(0, room.lines - 1), paint.quiet("…")];
  return fitting.map((line) => `${line}\n`).join("");
}

function verdict({ asPredicted, predicted }: Row): string {
  if (asPredicted === undefined || predicted === undefined) return "";
  return asPredicted ? "yes" : `NO: ${renderOutcome(predicted)}`;
}

function paintFor(row: Row | undefined, paint: Paint): (text: string) => string {
  if (row?.asPredicted === false) return paint.bad;
  return row?.outcome?.kind === "hbone" ? paint.good : (text) => text;
}
