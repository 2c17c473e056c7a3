import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parseCpuTime, stolenShares } from "./host.ts";

test("the share that the host took is of the time since it was asked last", () => {
  const texts = [
    "cpu  50 0 50 800 0 0 0 100 0 0",
    "cpu  60 0 60 850 0 0 10 120 9 9",
    "cpu  60 0 60 850 0 0 10 120 9 9",
  ];
  const share = stolenShares(() => `${texts.shift()}\ncpu0 1 2 3 4 5 6 7 8 9 10\n`);
  assert.equal(share(), 0.2);
  assert.equal(share(), 0, "no time has gone by");
});

test("this machine's own is read", () => {
  const { all, stolen } = parseCpuTime(readFileSync("/proc/stat", "utf8"));
  assert.ok(all > 0 && stolen >= 0 && stolen < all);
});
