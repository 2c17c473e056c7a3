/** `-o table` for people, `-o json` and `-o yaml` for machines: the same rows either way. */
import { stringify } from "yaml";
import { renderTable, type Column } from "./table.ts";

export type Format = "table" | "json" | "yaml";

export const formats: readonly Format[] = ["table", "json", "yaml"];

export function print<Row>(format: Format, columns: readonly Column<Row>[], rows: readonly Row[]): void {
  process.stdout.write(format === "table" ? renderTable(columns, rows) : renderData(format, rows));
}

/** A value for machines. @returns text that ends in a newline. */
export function renderData(format: "json" | "yaml", value: unknown): string {
  return format === "json"
    ? `${JSON.stringify(value, undefined, 2)}\n`
    : stringify(value, { aliasDuplicateObjects: false });
}

/** One line on standard error: what was chosen, who is missing. Never mixed with what a machine reads. */
export function say(sentence: string): void {
  process.stderr.write(`${sentence}\n`);
}
