import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ManualClock } from "./clock.ts";
import { paceOf } from "./pace.ts";

test("who holds somebody up rests six times as long as it worked, three milliseconds at least and twelve at most", async () => {
  for (const [tookMs, restMs] of [
    [0, 3],
    [1, 6],
    [50, 12],
  ] as const) {
    const clock = new ManualClock();
    let isOver = false;
    void paceOf(clock, () => true)
      .rest(tookMs)
      .then(() => (isOver = true));
    clock.advance(restMs - 0.1);
    await turn();
    assert.equal(isOver, false);
    clock.advance(0.2);
    await turn();
    assert.equal(isOver, true);
  }
});

test("who holds nobody up only lets others of its thread go first", async () => {
  const said: string[] = [];
  const resting = paceOf(new ManualClock(), () => false).rest(50);
  void Promise.resolve().then(() => said.push("somebody else"));
  await resting.then(() => said.push("the next turn"));
  assert.deepEqual(said, ["somebody else", "the next turn"]);
});
