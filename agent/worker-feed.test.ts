import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
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

function* counted(count: number): Generator<number, string> {
  for (let at = 0; at < count; at++) yield at;
  return "all";
}

function slices(count: number): MeshSlice[] {
  return Array.from({ length: count }, () => ({}));
}
