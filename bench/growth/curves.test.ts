import assert from "node:assert/strict";
import { test } from "node:test";
import { rowsOf, type Samples } from "../report/rows.ts";
import { curveRows, curvesOf } from "./curves.ts";

const samples: Samples[] = [
  { figure: "bulk-1.rate", side: "ours", values: [1] },
  { figure: "growth-workloads.load", side: "ours", n: 10_000, values: [2, 4, 3] },
  { figure: "growth-workloads.load", side: "ours", n: 2_000, values: [0.6] },
  { figure: "growth-workloads.load", side: "ours", n: 1_000, values: [0.3] },
];

test("a curve is its points in order, medians of their rounds, and the power with which they grow", () => {
  const [curve, ...others] = curvesOf(samples);
  assert.deepEqual(others, []);
  assert.deepEqual(
    curve?.points.map(({ n, median }) => [n, median]),
    [
      [1_000, 0.3],
      [2_000, 0.6],
      [10_000, 3],
    ],
  );
  assert.equal(curve?.exponent?.toFixed(6), "1.000000");
});

test("points are rows of their own, beside those of figures that have no size", () => {
  assert.deepEqual(
    rowsOf(samples).map(({ figure }) => figure),
    ["bulk-1.rate"],
  );
  const rows = curveRows(curvesOf(samples));
  assert.deepEqual(
    rows.map(({ figure, n, min, max, unit }) => ({ figure, n, min, max, unit })),
    [
      { figure: "growth-workloads.load", n: 1_000, min: 0.3, max: 0.3, unit: "s" },
      { figure: "growth-workloads.load", n: 2_000, min: 0.6, max: 0.6, unit: "s" },
      { figure: "growth-workloads.load", n: 10_000, min: 2, max: 4, unit: "s" },
    ],
  );
});

test("two points have no exponent, and their rows say so", () => {
  const curves = curvesOf(samples.slice(0, 3));
  assert.equal(curves[0]?.exponent, undefined);
  assert.deepEqual(new Set(curveRows(curves).map(({ exponent }) => exponent)), new Set([null]));
});
