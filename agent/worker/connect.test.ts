import assert from "node:assert/strict";
import { Socket } from "node:net";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { BareSocket } from "../../core/linux/bare-socket.ts";
import type { LinuxError } from "../../core/linux/errno.ts";
import { connectBare } from "../../core/linux/sockets.ts";
import { workerSettings } from "../../test/support/worker-settings.ts";
import { connectFrom, isFailure } from "./connect.ts";
import type { WorkerContext } from "./context.ts";

test("F-025 a connection that nobody answers is given up after ten seconds, and its socket is closed", async () => {
  const socket = new Socket(); // connects nowhere: no SYN of it is ever answered
  await givenUp({ connect: () => socket }, () => socket);
});

test("F-025 the same for a bare socket", async () => {
  let made: BareSocket | LinuxError | undefined;
  // Whether it is answered in time is not asked: it may not hear of that any more.
  const connect = (_request: unknown, connected: () => void): BareSocket | LinuxError =>
    (made = connectBare({ remote: { address: "127.0.0.1", port: 1 } }, connected));
  await givenUp({ connectBare: connect }, () => {
    assert.ok(made instanceof BareSocket);
    return made;
  });
});

async function givenUp(by: object, socket: () => { readonly destroyed: boolean }): Promise<void> {
  const clock = new ManualClock();
  const settings = { ...workerSettings, connectDeadlineMs: 10_000 };
  const context = { clock, settings, ...by } as unknown as WorkerContext;
  const connecting = connectFrom(context, { netns: undefined, remote: { address: "192.0.2.1", port: 80 } });
  clock.advance(9_999);
  assert.equal(socket().destroyed, false);
  clock.advance(1);
  const result = await connecting;
  assert.ok(isFailure(result));
  assert.deepEqual([result.reason, result.details.detail], ["CONNECT_TIMEOUT", "ETIMEDOUT"]);
  assert.equal(socket().destroyed, true);
  assert.equal(clock.nextTimerMs(), undefined);
}

test("a bare socket that can't be made is a failure at once, and no timer stays", async () => {
  const clock = new ManualClock();
  const context = { clock, settings: workerSettings, connectBare } as unknown as WorkerContext;
  const result = await connectFrom(context, {
    netns: undefined,
    remote: { address: "127.0.0.1", port: 1 },
    // connectBare takes it as it is.
    ...({ local: { address: "nonsense" } } as object),
  });
  assert.ok(isFailure(result));
  assert.equal(result.reason, "CONNECT_FAILED");
  assert.equal(clock.nextTimerMs(), undefined);
});
