import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ManualClock } from "../../core/base/clock.ts";
import type { MeshSlice } from "../mesh-slice.ts";
import { MeshTurns } from "./mesh-turns.ts";

test("slices are applied in the order in which they came, one in a turn, and each message is answered after its last", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ slices: fc.integer({ min: 1, max: 5 }), turns: fc.nat(4) })), fc.boolean(), run),
  );
});

test("what comes when nothing waits is applied at once", () => {
  const { turns, said } = world(true);
  turns.take([named("a")], () => said.push("done"));
  assert.deepEqual(said, ["a", "done"]);
});

test("with connections open there is a pause between two slices, without there is none", () => {
  for (const busy of [true, false]) {
    const { turns, said, clock, immediates } = world(busy);
    turns.take([named("a"), named("b")], () => said.push("done"));
    assert.deepEqual(said, ["a"]);
    assert.equal(immediates.length, busy ? 0 : 1);
    clock.advance(1);
    immediates.shift()?.();
    assert.deepEqual(said, ["a", "b", "done"]);
  }
});

function run(messages: { slices: number; turns: number }[], busy: boolean): void {
  const { turns, said, clock, immediates } = world(busy);
  const expected: string[] = [];
  for (const [at, message] of messages.entries()) {
    const names = Array.from({ length: message.slices }, (_, slice) => `${at}.${slice}`);
    expected.push(...names, `done ${at}`);
    turns.take(names.map(named), () => said.push(`done ${at}`));
    for (let turn = 0; turn < message.turns; turn++) {
      const before = said.filter((text) => !text.startsWith("done")).length;
      if (busy) clock.advance(1);
      else immediates.shift()?.();
      assert.ok(said.filter((text) => !text.startsWith("done")).length <= before + 1);
    }
  }
  for (let turn = 0; turn < 200; turn++) {
    clock.advance(1);
    immediates.shift()?.();
  }
  assert.deepEqual(said, expected);
}

function world(busy: boolean): World {
  const clock = new ManualClock();
  const said: string[] = [];
  const immediates: (() => void)[] = [];
  const turns = new MeshTurns({
    apply: ({ removed }) => said.push(removed?.addresses?.[0] ?? ""),
    isBusy: () => busy,
    clock,
    later: (later) => immediates.push(later),
  });
  return { turns, said, clock, immediates };
}

function named(name: string): MeshSlice {
  return { removed: { addresses: [name] } };
}

interface World {
  readonly turns: MeshTurns;
  readonly said: string[];
  readonly clock: ManualClock;
  readonly immediates: (() => void)[];
}
