/** A curve on two logarithmic axes: a power of n is a straight line there, and its exponent is how steep it is. A dashed line is what grows in proportion. */
import { figure } from "../figures.ts";
import type { Curve } from "../growth/curves.ts";
import { sideClass } from "./bar-chart.ts";
import { power } from "./curve-table.ts";
import { element, type Markup } from "./markup.ts";
import { numeral, quantity } from "./numbers.ts";

/** @returns undefined where no point lies above nought. */
export function logChart(curve: Curve): Markup | undefined {
  const { title, unit, id } = figure(curve.figure);
  const points = curve.points.filter(({ n, median }) => n > 0 && median > 0);
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  const x = axis(
    points.map(({ n }) => n),
    left,
    width - right,
  );
  const y = axis(
    points.flatMap(({ min, max }) => [min, max]).filter((value) => value > 0),
    bottom,
    top,
  );
  const name = `curve-${id.replaceAll(".", "-")}`;
  const spoken = points.map(({ n, median }) => `${numeral(n)}: ${quantity(median, unit)}`).join(", ");
  const dots = points.map(({ n, median }) => element("circle", { class: "dot", cx: x.at(n), cy: y.at(median), r: 4 }));
  return element(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": `${name}-title ${name}-description` },
    element("title", { id: `${name}-title` }, `${title}: grows with ${power(curve.exponent)}`),
    element("desc", { id: `${name}-description` }, `${spoken}.`),
    ...x.ticks.flatMap((tick) => [
      element("line", { class: "grid", x1: x.at(tick), x2: x.at(tick), y1: top, y2: bottom }),
      element("text", { class: "tick", x: x.at(tick), y: bottom + 14, "text-anchor": "middle" }, numeral(tick)),
    ]),
    ...y.ticks.flatMap((tick) => [
      element("line", { class: "grid", x1: left, x2: width - right, y1: y.at(tick), y2: y.at(tick) }),
      element("text", { class: "tick", x: left - 8, y: y.at(tick), "text-anchor": "end" }, numeral(tick)),
    ]),
    inProportion(first, last, x, y),
    element(
      "g",
      { class: sideClass(curve.side), "data-figure": id },
      element("path", {
        class: "curve",
        d: points
          .map(({ n, median }, i) => `${i === 0 ? "M" : "L"}${x.at(n).toFixed(1)} ${y.at(median).toFixed(1)}`)
          .join(""),
      }),
      ...dots,
    ),
    element("text", { class: "value", x: x.at(last.n) + 8, y: y.at(last.median) }, quantity(last.median, unit)),
  );
}

interface Axis {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** From the power of ten below the least value to the one above the most. */
function axis(values: readonly number[], from: number, to: number): Axis {
  const least = Math.floor(Math.log10(Math.min(...values)) + 1e-9);
  const most = Math.max(least + 1, Math.ceil(Math.log10(Math.max(...values)) - 1e-9));
  const at = (value: number): number => from + ((Math.log10(value) - least) / (most - least)) * (to - from);
  return { at, ticks: Array.from({ length: most - least + 1 }, (_, i) => 10 ** (least + i)) };
}

/** Through the last point, as far back as there is room for it. */
function inProportion(first: { n: number }, last: { n: number; median: number }, x: Axis, y: Axis): Markup {
  const n = Math.max(first.n, (last.n * (y.ticks[0] ?? 0)) / last.median);
  const value = (last.median * n) / last.n;
  return element("line", { class: "target", x1: x.at(n), y1: y.at(value), x2: x.at(last.n), y2: y.at(last.median) });
}

const width = 520;
const height = 250;
const left = 64;
const right = 96;
const top = 12;
const bottom = 216;
