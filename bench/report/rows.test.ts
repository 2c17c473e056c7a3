import assert from "node:assert/strict";
import { test } from "node:test";
import { rowsOf, type Samples } from "./rows.ts";

const samples: Samples[] = [
  { figure: "requests-64.rate", side: "ours", values: [44_000, 46_000, 45_000] },
  { figure: "bulk-1.cpu", side: "ours", values: [1.8, 2, 2.2] },
  { figure: "bulk-1.cpu", side: "haproxy", values: [1.6, 1.5, 1.7] },
  { figure: "requests-64.rate", side: "direct", values: [90_000] },
];

test("a row has a figure's least, median and most at a side, and its median in terms of each other side's", () => {
  assert.deepEqual(rowsOf(samples), [
    { figure: "bulk-1.cpu", side: "ours", unit: "CPU-s/GB", min: 1.8, median: 2, max: 2.2, vs: { haproxy: 1.25 } },
    { figure: "bulk-1.cpu", side: "haproxy", unit: "CPU-s/GB", min: 1.5, median: 1.6, max: 1.7, vs: { ours: 0.8 } },
    {
      figure: "requests-64.rate",
      side: "ours",
      unit: "/s",
      min: 44_000,
      median: 45_000,
      max: 46_000,
      vs: { direct: 0.5 },
    },
    {
      figure: "requests-64.rate",
      side: "direct",
      unit: "/s",
      min: 90_000,
      median: 90_000,
      max: 90_000,
      vs: { ours: 2 },
    },
  ]);
});

test("a side without values has no row, and one that took nothing or less is compared with nobody", () => {
  const rows = rowsOf([
    { figure: "latency-1000.p99-added", side: "ours", values: [-0.1] },
    { figure: "latency-1000.p99-added", side: "haproxy", values: [0] },
    { figure: "latency-1000.p99-added", side: "envoy", values: [] },
  ]);
  assert.deepEqual(
    rows.map(({ side, vs }) => [side, vs]),
    [
      ["ours", {}],
      ["haproxy", {}],
    ],
  );
});

test("rows are JSON, with nothing that JSON can't say", () => {
  const rows = rowsOf(samples);
  assert.deepEqual(JSON.parse(JSON.stringify(rows)), rows);
});
