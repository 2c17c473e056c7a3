import assert from "node:assert/strict";
import { test } from "node:test";
import { duration, wholeNumber } from "./arguments.ts";

test("a time is read as kubectl reads it", () => {
  assert.deepEqual(
    ["0", "30", "30s", "1m30s", "2h", "250ms", "1.5s"].map(duration),
    [0, 30_000, 30_000, 90_000, 7_200_000, 250, 1500],
  );
});

test("what is no time is refused with what one looks like", () => {
  for (const text of ["", "soon", "-1s", "5 s", "1d", "s"]) assert.throws(() => duration(text), /write 0, 30s, 2m/);
});

test("a number is whole and not too small", () => {
  assert.equal(wholeNumber(0)("0"), 0);
  for (const text of ["", " ", "-1", "1.5", "many"]) assert.throws(() => wholeNumber(0)(text), /at least 0/);
});
