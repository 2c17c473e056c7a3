import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "../../test/support/until.ts";
import { MemoryWatch, type MemoryUse } from "./memory-watch.ts";

const budget = { heap: 100, buffers: 100 };

test("H103 heap and buffers have a budget: near it no more work is taken, and beyond hope the thread is to end", () => {
  const rows: [MemoryUse, string][] = [
    [{ heapUsed: 79, arrayBuffers: 99 }, "fine"],
    [{ heapUsed: 80, arrayBuffers: 0 }, "full"],
    [{ heapUsed: 0, arrayBuffers: 100 }, "full"],
    [{ heapUsed: 90, arrayBuffers: 0 }, "hopeless"],
    [{ heapUsed: 0, arrayBuffers: 200 }, "hopeless"],
  ];
  for (const [use, state] of rows) {
    const watch = new MemoryWatch(budget, () => use, nothing);
    watch.look();
    assert.equal(watch.look(), state, JSON.stringify(use));
  }
});

test("H103 garbage is not taken for load, and is not collected at every look", () => {
  let [use, collections] = [{ heapUsed: 95, arrayBuffers: 150 }, 0];
  const watch = new MemoryWatch(
    budget,
    () => use,
    () => {
      collections += 1;
      use = { heapUsed: 10, arrayBuffers: 10 };
    },
  );
  assert.deepEqual([watch.look(), collections], ["fine", 1]);
  assert.equal(watch.look(), "fine");
  use = { heapUsed: 85, arrayBuffers: 0 };
  for (let look = 0; look < 30; look++) assert.equal(watch.look(), "fine");
  assert.equal(collections, 1, "a collection stops the thread");
  for (let look = 0; look < 20; look++) watch.look();
  assert.equal(collections, 2);
});

test("H103 the real collector frees what is held no more", async () => {
  const bytes = 64 << 20;
  const before = used(bytes);
  const watch = new MemoryWatch({ heap: 2 ** 32, buffers: bytes / 2 });
  assert.equal(watch.look(), "fine");
  // Buffers are freed beside the program.
  await until("it is freed", 5_000, () => process.memoryUsage().arrayBuffers < before + bytes / 4);
  assert.equal(watch.look(), "fine");
});

function nothing(): void {}

/** With so many bytes more, which nobody holds by the time it returns. */
function used(bytes: number): number {
  const more = new Uint8Array(bytes);
  return process.memoryUsage().arrayBuffers - bytes + more.length;
}
