/** Curves as text: what grows goes across, a line for each figure, and at its end the power with which it grows. */
import type { Curve } from "../growth/curves.ts";
import { figure } from "../figures.ts";
import { numeral } from "./numbers.ts";

export function curveTable(curves: readonly Curve[]): string {
  const groups = [...new Set(curves.map((curve) => figure(curve.figure).group))];
  return groups.map((group) => tableOf(group, curves)).join("\n");
}

/** `n^0.98`, or a dash where the points don't tell. */
export function power(exponent: number | undefined): string {
  if (exponent === undefined) return "-";
  // -0.001 is no "-0.00".
  return `n^${(Math.abs(exponent) < 0.005 ? 0 : exponent).toFixed(2)}`;
}

function tableOf(group: string, curves: readonly Curve[]): string {
  const own = curves.filter((curve) => figure(curve.figure).group === group);
  const sizes = [...new Set(own.flatMap(({ points }) => points.map(({ n }) => n)))].sort((one, other) => one - other);
  const lines = [[group, ...sizes.map((n) => n.toLocaleString("en")), "unit", "grows with"]];
  for (const { figure: id, points, exponent } of own) {
    const { title, unit } = figure(id);
    const cells = sizes.map((size) => {
      const point = points.find(({ n }) => n === size);
      return point === undefined ? "" : numeral(point.median);
    });
    lines.push([title, ...cells, unit, power(exponent)]);
  }
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const isNumber = (column: number): boolean => column > 0 && column <= sizes.length;
  const padded = (cell: string, column: number): string =>
    isNumber(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
  return lines.map((line) => `${line.map(padded).join("  ").trimEnd()}\n`).join("");
}
