import assert from "node:assert/strict";
import { test } from "node:test";
import { numeral, quantity, ratio } from "./numbers.ts";

test("numbers have three digits that count, large ones separators", () => {
  const expected: [number, string][] = [
    [0.004, "0.00"],
    [-0.001, "0.00"],
    [-0.42, "-0.42"],
    [1.234, "1.23"],
    [12.34, "12.3"],
    [123.4, "123"],
    [-1234.6, "-1,235"],
    [1_234_567, "1,234,567"],
  ];
  for (const [value, text] of expected) assert.equal(numeral(value), text);
});

test("a rate is written to its number, other units stand apart", () => {
  assert.equal(quantity(44_700, "/s"), "44,700/s");
  assert.equal(quantity(1.05, "CPU-s/GB"), "1.05 CPU-s/GB");
  assert.equal(ratio(0.125), "0.125 ×");
  assert.equal(ratio(0.87), "0.87 ×");
  assert.equal(ratio(12.34), "12.3 ×");
});
