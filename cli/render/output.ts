/** `-o table` for people, `-o json` for machines: the same rows either way. */
import { InvalidArgumentError, Option } from "commander";
import { renderTable, type Column } from "./table.ts";

export type Format = "table" | "json";

export function outputOption(): Option {
  return new Option("-o, --output <format>", "table for people, json for machines")
    .choices(["table", "json"])
    .default("table");
}

export function print<Row>(format: Format, columns: readonly Column<Row>[], rows: readonly Row[]): void {
  process.stdout.write(format === "json" ? `${JSON.stringify(rows, undefined, 2)}\n` : renderTable(columns, rows));
}

/** A whole number of at least `least`, for commander's argument parser. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least)
      throw new InvalidArgumentError(`a whole number of at least ${least} is needed`);
    return value;
  };
}
