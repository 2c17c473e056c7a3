import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ManualClock, systemClock } from "../core/base/clock.ts";
import { paceOf, unhurried } from "../core/base/pace.ts";
import { handInPieces } from "./in-pieces.ts";
import type { MeshSlice } from "./mesh-slice.ts";
import { WorkerFeed } from "./worker-feed.ts";

test("who feeds waits for a worker that is behind, and not for one that is gone", async () => {
  const sent: number[] = [];
  const feed = new WorkerFeed((message) => message.kind === "mesh" && sent.push(message.sequence));
  void feed.push(slices(100));
  assert.equal(feed.behind, 100);
  let rooms = 0;
  void feed.room(90).then(() => (rooms += 1));
  void feed.room(10).then(() => (rooms += 1));
  await turn();
  assert.equal(rooms, 0);
  feed.applied(sent[0]!);
  await turn();
  assert.deepEqual([feed.behind, rooms], [84, 1]);
  feed.stop();
  await turn();
  assert.equal(rooms, 2);
});

test("a piece is handed on only when there is room, and all have arrived in the end", async () => {
  const [handed, arrived]: [number[], (() => void)[]] = [[], []];
  let open: (() => void) | undefined;
  const result = handInPieces(counted(3), {
    hand: (piece) => {
      handed.push(piece);
      return new Promise((resolve) => arrived.push(resolve));
    },
    room: () => new Promise((resolve) => (open = resolve)),
    pace: unhurried(systemClock),
  });
  await turn();
  assert.deepEqual(handed, [0]);
  for (let piece = 0; piece < 3; piece++) {
    open?.();
    await turn();
    await turn();
  }
  assert.deepEqual(handed, [0, 1, 2]);
  let isOver = false;
  void result.then(() => (isOver = true));
  arrived[0]?.();
  await turn();
  assert.equal(isOver, false);
  for (const settle of arrived) settle();
  assert.equal(await result, "all");
});

test("pieces come with a rest between them where somebody would be held up, but not after the first", async () => {
  const handed: number[] = [];
  const clock = new ManualClock();
  const result = handInPieces(counted(4), {
    hand: (piece) => {
      handed.push(piece);
      return Promise.resolve();
    },
    room: () => Promise.resolve(),
    pace: paceOf(clock, () => true),
  });
  await turn();
  assert.deepEqual(handed, [0, 1]);
  clock.advance(3);
  await turn();
  assert.deepEqual(handed, [0, 1, 2]);
  for (let rests = 0; rests < 2; rests++) {
    clock.advance(3);
    await turn();
  }
  assert.equal(await result, "all");
});

function* counted(count: number): Generator<number, string> {
  for (let at = 0; at < count; at++) yield at;
  return "all";
}

function slices(count: number): MeshSlice[] {
  return Array.from({ length: count }, () => ({}));
}
