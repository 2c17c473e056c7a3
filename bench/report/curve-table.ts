/** Curves as text: what grows goes across, a line for each figure, and at its end the power with which it grows. */
import { curveGroups, type Curve, type CurveGroup } from "../growth/curves.ts";
import { figure } from "../figures.ts";
import { numeral } from "./numbers.ts";

export function curveTable(curves: readonly Curve[]): string {
  return curveGroups(curves).map(tableOf).join("\n");
}

/** `n^0.98`, or a dash where the points don't tell. */
export function power(exponent: number | undefined): string {
  if (exponent === undefined) return "-";
  // -0.001 is no "-0.00".
  return `n^${(Math.abs(exponent) < 0.005 ? 0 : exponent).toFixed(2)}`;
}

function tableOf({ name, sizes, lines: curves }: CurveGroup): string {
  const lines = [[name, ...sizes.map((n) => n.toLocaleString("en")), "unit", "grows with"]];
  for (const { curve, medians } of curves) {
    const { title, unit } = figure(curve.figure);
    const cells = medians.map((median) => (median === undefined ? "" : numeral(median)));
    lines.push([title, ...cells, unit, power(curve.exponent)]);
  }
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const isNumber = (column: number): boolean => column > 0 && column <= sizes.length;
  const padded = (cell: string, column: number): string =>
    isNumber(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
  return lines.map((line) => `${line.map(padded).join("  ").trimEnd()}\n`).join("");
}
