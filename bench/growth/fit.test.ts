import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { exponentOf, lastDecade } from "./fit.ts";

const at = (law: (n: number) => number, sizes = [10, 100, 1_000, 10_000]) => sizes.map((n) => ({ n, value: law(n) }));

test("any power of n is found, whatever it is multiplied with", () => {
  fc.assert(
    fc.property(
      fc.double({ min: -2, max: 3, noNaN: true }),
      fc.double({ min: 1e-3, max: 1e3, noNaN: true }),
      (power, times) => {
        assert.ok(Math.abs((exponentOf(at((n) => times * n ** power)) ?? Number.NaN) - power) < 1e-9);
      },
    ),
  );
});

test("what is constant has the exponent 0, and a logarithm one that is hardly more", () => {
  assert.equal(exponentOf(at(() => 7)), 0);
  const slow = exponentOf(at((n) => 10 + Math.log(n))) ?? Number.NaN;
  assert.ok(slow > 0 && slow < 0.1, `${slow}`);
});

test("a point that is off moves it by little", () => {
  const points = at((n) => n, [1_000, 2_000, 4_000, 8_000, 16_000]);
  const bent = exponentOf(points.map((point, i) => (i === 2 ? { ...point, value: point.value * 1.2 } : point))) ?? 0;
  assert.ok(Math.abs(bent - 1) < 0.05, `${bent}`);
});

test("what it costs to begin is not taken for slow growth", () => {
  const points = at((n) => 500 + n, [1, 10, 100, 1_000, 3_000, 10_000]);
  assert.ok((exponentOf(points) ?? 0) < 0.4);
  assert.ok((exponentOf(lastDecade(points)) ?? 0) > 0.8);
  assert.deepEqual(
    lastDecade(points).map(({ n }) => n),
    [1_000, 3_000, 10_000],
  );
});

test("too few points, or all at one n, say nothing", () => {
  assert.equal(exponentOf([]), undefined);
  assert.equal(exponentOf(at((n) => n, [1, 10])), undefined);
  assert.equal(exponentOf(at((n) => n - 10)), exponentOf(at((n) => n - 10).slice(1)));
  assert.equal(exponentOf([1, 2, 3].map((value) => ({ n: 5, value }))), undefined);
});
