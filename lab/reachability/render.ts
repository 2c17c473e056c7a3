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

const headings = ["CLIENT", "TARGET", "REQUESTS", "WHAT HAPPENED", "SERVED BY", "AS DECIDED"];

export function renderRows(rows: readonly Row[], paint: Paint): string {
  const lines = rows.map((row) => [
    row.client,
    row.target,
    String(row.requests),
    row.outcome === undefined ? "…" : renderOutcome(row.outcome),
    row.servedBy ?? "",
    verdict(row),
  ]);
  const widths = headings.map((heading, i) => Math.max(heading.length, ...lines.map((line) => line[i]?.length ?? 0)));
  const pad = (line: readonly string[]): string =>
    line
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd();
  const body = lines.map((line, i) => paintFor(rows[i], paint)(pad(line)));
  return [paint.quiet(pad(headings)), ...body].map((line) => `${line}\n`).join("");
}

function verdict({ asPredicted, predicted }: Row): string {
  if (asPredicted === undefined || predicted === undefined) return "";
  return asPredicted ? "yes" : `NO: ${renderOutcome(predicted)}`;
}

function paintFor(row: Row | undefined, paint: Paint): (text: string) => string {
  if (row?.asPredicted === false) return paint.bad;
  return row?.outcome?.kind === "hbone" ? paint.good : (text) => text;
}
