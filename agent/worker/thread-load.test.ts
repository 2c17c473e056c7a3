import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock, systemClock } from "../../core/base/clock.ts";
import { ThreadLoad } from "./thread-load.ts";

test("the load is the share of the time since the last look that the thread has run", () => {
  const clock = new ManualClock();
  const usage = { user: 5_000, system: 0 };
  const load = new ThreadLoad(clock, () => usage);
  usage.user += 100_000;
  usage.system += 50_000;
  clock.advance(250);
  assert.equal(load.take(), 0.6);
  clock.advance(250);
  assert.equal(load.take(), 0);
  assert.equal(load.take(), 0, "no time has passed");
});

test("the kernel counts this thread's time, and no more than there was", () => {
  const load = new ThreadLoad(systemClock);
  const before = process.cpuUsage();
  // Until some time has been spent, however slow this machine is.
  while (process.cpuUsage(before).user < 20_000);
  const share = load.take();
  assert.ok(share > 0 && share <= 1, String(share));
});
