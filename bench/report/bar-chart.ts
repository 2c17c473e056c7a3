/** A bar for each side: as long as its median, a whisker from its least to its most, its value at the end; a dashed line for a target. */
import type { Figure } from "../figures.ts";
import type { SideName } from "../side.ts";
import { element, type Markup } from "./markup.ts";
import { quantity } from "./numbers.ts";
import type { Row } from "./rows.ts";

/** @param limit what ours is to reach, if there is a target. */
export function barChart(figure: Figure, rows: readonly Row[], limit?: number): Markup {
  const height = top + rows.length * step + (limit === undefined ? 4 : 20);
  const scale = scaleOf(rows, limit);
  const id = `chart-${figure.id.replaceAll(".", "-")}`;
  const spoken = rows.map((row) => `${row.side} ${quantity(row.median, figure.unit)}`).join(", ");
  return element(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${id}-title ${id}-description` },
    element("title", { id: `${id}-title` }, `${figure.title}, ${figure.better} is better`),
    element("desc", { id: `${id}-description` }, `Medians: ${spoken}.`),
    ...rows.map((row, i) => bar(row, figure, top + i * step, scale)),
    element("line", { class: "axis", x1: scale(0), x2: scale(0), y1: 0, y2: top + rows.length * step - gap + 4 }),
    ...(limit === undefined ? [] : targetLine(scale(limit), top + rows.length * step, limit, figure)),
    ...rows.map((row, i) => valueOf(row, figure, top + i * step, scale)),
  );
}

function bar(row: Row, { id }: Figure, y: number, scale: (value: number) => number): Markup {
  const [from, to] = [scale(0), scale(row.median)];
  const middle = y + thickness / 2;
  const [least, most] = [scale(row.min), scale(row.max)];
  return element(
    "g",
    { class: sideClass(row.side), "data-figure": id },
    element("text", { class: "side", x: labels - 10, y: middle, "text-anchor": "end" }, row.side),
    element("rect", {
      class: "bar",
      x: Math.min(from, to),
      y,
      width: Math.max(1, Math.abs(to - from)),
      height: thickness,
      rx: 3,
    }),
    element("line", { class: "whisker", x1: least, x2: most, y1: middle, y2: middle }),
    ...[least, most].map((x) => element("line", { class: "whisker", x1: x, x2: x, y1: middle - 4, y2: middle + 4 })),
  );
}

/** Above all lines. */
function valueOf(row: Row, { unit }: Figure, y: number, scale: (value: number) => number): Markup {
  const end = Math.max(scale(0), scale(row.median), scale(row.max));
  const attributes = { class: `value ${sideClass(row.side)}`, x: end + 8, y: y + thickness / 2 };
  return element("text", attributes, quantity(row.median, unit));
}

function targetLine(x: number, bottom: number, limit: number, { unit, better }: Figure): Markup[] {
  const says = `target ${better === "lower" ? "≤" : "≥"} ${quantity(limit, unit)}`;
  const isRight = x > (labels + width) / 2;
  return [
    element("line", { class: "target", x1: x, x2: x, y1: 0, y2: bottom }),
    element(
      "text",
      { class: "target-text", x: isRight ? x - 4 : x + 4, y: bottom + 8, "text-anchor": isRight ? "end" : "start" },
      says,
    ),
  ];
}

/** Linear from nought, or from the least value where that is below it; room at the right end for the numbers. */
function scaleOf(rows: readonly Row[], limit = 0): (value: number) => number {
  const least = Math.min(0, ...rows.map(({ min }) => min));
  const most = Math.max(limit, 0, ...rows.map(({ max }) => max));
  const span = most - least === 0 ? 1 : most - least;
  return (value) => labels + ((value - least) / span) * (width - labels - numbers);
}

export function sideClass(side: SideName): string {
  return `side-${side}`;
}

const width = 520;
const labels = 78;
const numbers = 108;
const top = 6;
const thickness = 18;
const gap = 10;
const step = thickness + gap;
