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
    clock.advance(3);
    immediates.shift()?.();
    assert.deepEqual(said, ["a", "b", "done"]);
  }
});

test("with connections open there is a pause between the slices of two messages as well, but for what comes alone", () => {
  const { turns, said, clock } = world(true);
  turns.take([named("a"), named("b")], () => said.push("done b"));
  clock.advance(3);
  turns.take([named("c")], () => said.push("done c"));
  assert.deepEqual(said, ["a", "b", "done b"]);
  clock.advance(3);
  assert.deepEqual(said.slice(3), ["c", "done c"]);
  turns.take([named("d")], () => undefined);
  assert.equal(said.at(-1), "d");
});

test("the longer a slice took the longer is the pause, up to twelve milliseconds", () => {
  for (const [tookMs, restMs] of [
    [0.2, 3],
    [1, 6],
    [50, 12],
  ] as const) {
    const { turns, said, clock } = world(true, () => clock.advance(tookMs));
    turns.take([named("a"), named("b")], () => undefined);
    clock.advance(restMs - 0.1);
    assert.deepEqual(said, ["a"]);
    clock.advance(0.2);
    assert.deepEqual(said, ["a", "b"]);
  }
});

test("a slice that throws leaves the others in order", () => {
  const { turns, said, immediates } = world(false, (name) => {
    if (name === "a") throw new Error("a bug");
  });
  assert.throws(() => turns.take([named("a"), named("b")], () => said.push("done")), /a bug/);
  immediates.shift()?.();
  assert.deepEqual(said, ["b", "done"]);
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
      if (busy) clock.advance(3);
      else immediates.shift()?.();
      assert.ok(said.filter((text) => !text.startsWith("done")).length <= before + 1);
    }
  }
  for (let turn = 0; turn < 200; turn++) {
    clock.advance(3);
    immediates.shift()?.();
  }
  assert.deepEqual(said, expected);
}

function world(busy: boolean, before: (name: string) => void = () => undefined): World {
  const clock = new ManualClock();
  const said: string[] = [];
  const immediates: (() => void)[] = [];
  const turns = new MeshTurns({
    apply: ({ removed }) => {
      const name = removed?.addresses?.[0] ?? "";
      before(name);
      said.push(name);
    },
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
