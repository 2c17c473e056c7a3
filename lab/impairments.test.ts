import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../core/base/random.ts";
import { Channel, readImpairments, unimpaired, type Impairments } from "./impairments.ts";

const random = seededRandom(1);

test("an unimpaired link lets every frame out at once, once", () => {
  assert.deepEqual(new Channel(unimpaired, random).admit(1500, 7), [7]);
});

test("delay is added to each frame", () => {
  assert.deepEqual(new Channel({ ...unimpaired, delayMs: 40 }, random).admit(1500, 7), [47]);
});

test("at a rate, frames follow each other as fast as it allows", () => {
  const channel = new Channel({ ...unimpaired, rateMbit: 12 }, random);
  // 1,500 bytes at 12 Mbit/s are 1 ms.
  assert.deepEqual([channel.admit(1500, 0), channel.admit(1500, 0), channel.admit(1500, 10)].flat(), [1, 2, 11]);
});

test("a queue of more than 200 ms is cut at its tail, and what was cut takes no time", () => {
  const channel = new Channel({ ...unimpaired, rateMbit: 12 }, random);
  const due = Array.from({ length: 300 }, () => channel.admit(1500, 0));
  assert.equal(due.flat().length, 200);
  assert.deepEqual(channel.admit(1500, 100), [201]);
});

test("loss, duplication and reordering happen as often as asked", () => {
  const channel = new Channel({ ...unimpaired, lossPercent: 10, duplicatePercent: 20, reorderPercent: 30 }, random);
  const due = Array.from({ length: 20_000 }, () => channel.admit(100, 0));
  const share = (holds: (times: readonly number[]) => boolean): number => due.filter(holds).length / due.length;
  assert.ok(Math.abs(share((times) => times.length === 0) - 0.1) < 0.01);
  assert.ok(Math.abs(share((times) => times.length === 2) - 0.9 * 0.2) < 0.01);
  assert.ok(Math.abs(share((times) => (times[0] ?? 0) > 0) - 0.9 * 0.3) < 0.01);
});

test("a request changes the fields it names and no other", () => {
  const before = { ...unimpaired, delayMs: 5 };
  assert.deepEqual(readImpairments(before, { lossPercent: 1 }), { ...before, lossPercent: 1 });
  assert.match(sentence(readImpairments(before, { lossPercent: 101 })), /lossPercent must be a number from 0 to 100/);
  assert.match(sentence(readImpairments(before, { lossPercent: Number.NaN })), /lossPercent must be/);
  assert.match(sentence(readImpairments(before, { toString: 1 })), /toString is none of/);
});

function sentence(answer: Impairments | string): string {
  return typeof answer === "string" ? answer : assert.fail("it was taken");
}
