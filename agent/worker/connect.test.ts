import assert from "node:assert/strict";
import { Socket } from "node:net";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { workerSettings } from "../../test/support/worker-settings.ts";
import { connectFrom, isFailure } from "./connect.ts";
import type { WorkerContext } from "./context.ts";

test("F-025 a connection that nobody answers is given up after ten seconds, and its socket is closed", async () => {
  const clock = new ManualClock();
  const socket = new Socket(); // connects nowhere: no SYN of it is ever answered
  const settings = { ...workerSettings, connectDeadlineMs: 10_000 };
  const context = { clock, settings, connect: () => socket } as unknown as WorkerContext;
  const connecting = connectFrom(context, { netns: undefined, remote: { address: "192.0.2.1", port: 80 } });
  clock.advance(9_999);
  assert.equal(socket.destroyed, false);
  clock.advance(1);
  const result = await connecting;
  assert.ok(isFailure(result));
  assert.deepEqual([result.reason, result.details.detail], ["CONNECT_TIMEOUT", "ETIMEDOUT"]);
  assert.equal(socket.destroyed, true);
  assert.equal(clock.nextTimerMs(), undefined);
});
