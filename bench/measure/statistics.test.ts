import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ratioOf, spreadOf } from "./statistics.ts";

test("the median of an odd number of rounds is the one in the middle, of an even number what lies between two", () => {
  assert.deepEqual(spreadOf([5, 1, 3]), { min: 1, median: 3, max: 5 });
  assert.deepEqual(spreadOf([4, 1, 2, 9]), { min: 1, median: 3, max: 9 });
  assert.deepEqual(spreadOf([-2]), { min: -2, median: -2, max: -2 });
});

test("a figure without a value has no spread", () => {
  assert.equal(spreadOf([]), undefined);
  assert.equal(spreadOf([Number.NaN, Number.POSITIVE_INFINITY]), undefined);
});

test("half of all values are no more than the median and half are no less, whatever their order", () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { minLength: 1 }), (values) => {
      const spread = spreadOf(values);
      assert(spread !== undefined);
      const { min, median, max } = spread;
      assert(min <= median && median <= max);
      assert(values.filter((value) => value <= median).length * 2 >= values.length);
      assert(values.filter((value) => value >= median).length * 2 >= values.length);
    }),
  );
});

test("a ratio to nothing, or of less than nothing, is not told", () => {
  assert.equal(ratioOf(3, 2), 1.5);
  assert.equal(ratioOf(3, 0), undefined);
  assert.equal(ratioOf(-1, 2), undefined);
  assert.equal(ratioOf(3, undefined), undefined);
});
