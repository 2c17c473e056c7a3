import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../../core/base/clock.ts";
import { Admission } from "./admission.ts";
import { Debounce } from "./debounce.ts";
import { RequestBudget } from "./request-budget.ts";

test("changes that come together are one flush, after a moment of quiet", () => {
  const { clock, debounce, flushes } = debounced();
  for (let index = 0; index < 5; index++) {
    debounce.touch();
    clock.advance(10);
  }
  assert.deepEqual(flushes, []);
  clock.advance(20);
  assert.deepEqual(flushes, [60]);
  clock.advance(1_000);
  assert.deepEqual(flushes, [60]);
});

test("changes that never stop are flushed all the same, at the latest after the longest wait", () => {
  const { clock, debounce, flushes } = debounced();
  for (let index = 0; index < 300; index++) {
    debounce.touch();
    clock.advance(10);
  }
  for (const [index, at] of flushes.entries()) assert.ok(at - (flushes[index - 1] ?? 0) <= 510);
  assert.ok(flushes.length >= 5);
});

test("what waits when it is closed is not flushed", () => {
  const { clock, debounce, flushes } = debounced();
  debounce.touch();
  debounce.close();
  clock.advance(1_000);
  assert.deepEqual(flushes, []);
  assert.equal(clock.nextTimerMs(), undefined);
});

test("a second's worth of streams enters at once, the rest in turn, and who would wait too long is sent away", async () => {
  const clock = new ManualClock();
  clock.advance(5_000);
  const admission = new Admission({ clock, perSecond: 20, longestWaitMs: 2_000 });
  const entered: boolean[] = [];
  const asked = Array.from({ length: 100 }, () => admission.enter().then((may) => entered.push(may)));
  await turn();
  const count = (may: boolean): number => entered.filter((answer) => answer === may).length;
  assert.ok(count(true) >= 20 && count(true) <= 22, `${count(true)} at once`);
  assert.ok(count(false) > 30);
  clock.advance(1_000);
  await turn();
  assert.ok(count(true) >= 39 && count(true) <= 42, `${count(true)} after a second`);
  clock.advance(1_000);
  await Promise.all(asked);
});

test("a stream's answers are free, and what it asks beyond its budget is too much until time has passed", () => {
  const budget = new RequestBudget(0);
  for (let index = 0; index < 5_000; index++) {
    budget.earn();
    assert.equal(budget.spend(0), true);
  }
  let asked = 0;
  while (budget.spend(0)) asked += 1;
  assert.ok(asked >= 999 && asked <= 1_001);
  assert.equal(budget.spend(10), false);
  assert.equal(budget.spend(1_000), true);
});

function debounced() {
  const clock = new ManualClock();
  const flushes: number[] = [];
  const flush = (): void => void flushes.push(clock.nowMs());
  return { clock, flushes, debounce: new Debounce({ clock, quietMs: 20, atMostMs: 500, flush }) };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
