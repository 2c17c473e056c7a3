import assert from "node:assert/strict";
import { test } from "node:test";
import { getHeapStatistics } from "node:v8";
import { giveMemoryBack } from "./garbage.ts";

test("what a heap kept for later goes back, and the collector is shown to nobody else", () => {
  let rows: object[] | undefined = Array.from({ length: 300_000 }, (_, index) => ({ index }));
  const grown = getHeapStatistics().total_physical_size;
  assert.equal(rows.length, 300_000);
  rows = undefined;
  giveMemoryBack();
  assert.ok(getHeapStatistics().total_physical_size < grown - 5_000_000);
  assert.equal("gc" in globalThis, false);
});
