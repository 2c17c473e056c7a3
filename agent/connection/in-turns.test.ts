import assert from "node:assert/strict";
import { test } from "node:test";
import { InTurns } from "./in-turns.ts";

/** A clock that goes on by what each item costs, and turns that the test takes. */
class Bench {
  nowMs = 0;
  readonly done: string[] = [];
  readonly turns: (() => void)[] = [];
  readonly queue: InTurns<string>;

  constructor(costMs: number) {
    const modules = { nowMs: () => this.nowMs, later: (run: () => void) => void this.turns.push(run) };
    this.queue = new InTurns<string>(modules, (item) => {
      this.done.push(item);
      this.nowMs += costMs;
    });
  }

  turn(): void {
    this.turns.shift()?.();
  }
}

const named = (count: number): string[] => Array.from({ length: count }, (_, at) => `item ${at}`);

test("what fits into a millisecond is done at once", () => {
  const bench = new Bench(0.01);
  bench.queue.add(named(90));
  assert.equal(bench.done.length, 90);
  assert.deepEqual([bench.queue.waiting, bench.turns.length], [0, 0]);
});

test("the rest follows a millisecond at a time, in order, and everything is done once", () => {
  const bench = new Bench(0.1);
  bench.queue.add(named(100));
  const atOnce = bench.done.length;
  assert.ok(bench.nowMs < 2, "the first turn is short");
  assert.deepEqual([bench.queue.waiting, bench.turns.length], [100 - atOnce, 1]);
  bench.queue.add(named(100).slice(90));
  assert.equal(bench.turns.length, 1, "what is added waits for its turn");
  while (bench.turns.length > 0) {
    const beganMs = bench.nowMs;
    bench.turn();
    assert.ok(bench.nowMs - beganMs < 2, "each turn is short");
  }
  assert.deepEqual(bench.done, named(100));
  bench.queue.add(["again"]);
  assert.equal(bench.done.at(-1), "again", "afterwards it begins at once again");
});

test("what is taken back before its turn is not done", () => {
  const bench = new Bench(1);
  bench.queue.add(named(20));
  bench.queue.drop("item 19");
  while (bench.turns.length > 0) bench.turn();
  assert.equal(bench.done.length, 19);
});

test("work that adds work is not done inside itself", () => {
  let depth = 0;
  const seen: number[] = [];
  const later: (() => void)[] = [];
  const queue: InTurns<number> = new InTurns({ nowMs: () => 0, later: (run) => void later.push(run) }, (item) => {
    depth += 1;
    assert.equal(depth, 1);
    seen.push(item);
    if (item < 3) queue.add([item + 1]);
    depth -= 1;
  });
  queue.add([1]);
  assert.deepEqual(seen, [1, 2, 3]);
  assert.equal(later.length, 0);
});
