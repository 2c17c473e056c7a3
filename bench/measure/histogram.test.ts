import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Histogram } from "./histogram.ts";

test("a quantile is at least the exact one, and at most 1/128 above it", () => {
  const values = fc.array(fc.integer({ min: 0, max: 2 ** 30 - 1 }), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(values, fc.double({ min: 0.01, max: 1, noNaN: true }), (latencies, share) => {
      const histogram = new Histogram();
      for (const us of latencies) histogram.record(us);
      const sorted = [...latencies].sort((a, b) => a - b);
      const exact = sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1] ?? 0;
      const told = histogram.quantileUs(share);
      assert(told >= exact, `${told} is below ${exact}`);
      assert(told <= exact * (1 + 1 / 128), `${told} is far above ${exact}`);
    }),
  );
});

test("what is below 256 microseconds is told exactly", () => {
  const histogram = new Histogram();
  for (let us = 0; us < 256; us++) histogram.record(us + 0.9);
  assert.equal(histogram.quantileUs(0.5), 127);
  assert.equal(histogram.quantileUs(1), 255);
});

test("a histogram without a value has no quantile, and one of a value beyond its end the end", () => {
  const histogram = new Histogram();
  assert(Number.isNaN(histogram.quantileUs(0.99)));
  histogram.record(-3);
  histogram.record(2 ** 40);
  assert.equal(histogram.quantileUs(0.5), 0);
  assert.equal(histogram.maxUs, 2 ** 30 - 1);
  assert.equal(histogram.total, 2);
});
