/** Wall clocks that are set to another time while connections are made: deadlines go on, certificates are judged anew, one alarm. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Socket } from "node:net";
import { watchClock } from "../../agent/clock-watch.ts";
import { ManualClock, systemClock, type Clock } from "../../core/base/clock.ts";
import { silentLog, type Log } from "../../core/base/log.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../support/loopback-mesh.ts";
import { pod } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";

const skip = enterNamespaces() ?? false;
const hour = 3_600_000;
const tenYears = 10 * 365 * 24 * hour;
const closers: (() => void)[] = [];
before(() => (skip === false ? ownAddresses() : undefined));
after(() => closers.reverse().forEach((close) => close()));

for (const [what, stepMs] of [
  ["an hour on", hour],
  ["an hour back", -hour],
  ["ten years on", tenYears],
] as const) {
  test(`H109 a clock that is set ${what} during handshakes ends none of them, nor what is open`, { skip }, async () => {
    const { mesh, client, port, step } = await scene();
    const open = client.connectOut({ address: "10.99.0.3", port });
    assert.equal(await echo(open, "before"), "before");
    mesh.certifyPod("default/alice");
    // The next one needs a new tunnel: its TCP connect is under way when the clock is set.
    const opened = mesh.tunnelsOpened;
    const during = client.connectOut({ address: "10.99.0.3", port });
    await until("a handshake has begun", 5_000, () => mesh.tunnelsOpened > opened);
    step(stepMs);
    assert.equal(await echo(during, "during"), "during");
    assert.equal(await echo(open, "still"), "still");
    mesh.worker.tick(systemClock.nowMs());
    assert.equal(await echo(open, "after a tick"), "after a tick");
    assert.deepEqual(mesh.lines, []);
  });
}

test(
  "H109 when all certificates have ended at once each is asked for once, refused by name, and used again once the clock is right",
  { skip },
  async () => {
    const { mesh, client, port, step } = await scene(300);
    assert.equal(await echo(client.connectOut({ address: "10.99.0.3", port }), "before"), "before");
    step(tenYears);
    const many = Array.from({ length: 200 }, () => client.connectOut({ address: "10.99.0.3", port }));
    await Promise.all(many.map(async (socket) => assert.equal(await echo(socket, "?"), "ECONNRESET")));
    await until("each has its line", 5_000, () => {
      return mesh.lines.filter(({ reason }) => reason === "NO_CERTIFICATE").length === many.length;
    });
    const wanted = mesh.messages.filter(({ kind }) => kind === "certificate-wanted");
    assert.equal(wanted.length, 1, "one question for two hundred connections");
    step(0);
    assert.equal(await echo(client.connectOut({ address: "10.99.0.3", port }), "right again"), "right again");
  },
);

test("H109 a step is told once, by its name; a clock that is slewed, and one that stands still with us, are not", () => {
  const clock = new ManualClock();
  const { stepped, step } = stepping(clock);
  const told: unknown[] = [];
  const stop = watchClock(stepped, { ...silentLog, error: (fields: object) => told.push(fields) } as Log);
  for (let second = 1; second <= 600; second++) {
    step(second * 0.5);
    clock.advance(1_000);
  }
  assert.deepEqual(told, []);
  for (const stepMs of [hour, -hour, tenYears]) {
    step(stepMs);
    clock.advance(100_000);
  }
  // Each from where it stood.
  const steps = [hour - 300, -2 * hour, tenYears + hour].map((stepMs) => ({ alarm: "CLOCK_STEPPED", stepMs }));
  assert.deepEqual(told, steps);
  stop();
  assert.equal(clock.nextTimerMs(), undefined);
});

async function scene(deadlineMs = 5_000): Promise<{
  mesh: LoopbackMesh;
  client: LoopbackPod;
  port: number;
  step: (ms: number) => void;
}> {
  const { stepped, step } = stepping(systemClock);
  const mesh = new LoopbackMesh({ clock: stepped, deadlineMs });
  const app = await application("10.99.0.3", (socket) => socket.pipe(socket));
  closers.push(app.close, () => mesh.close());
  mesh.apply({ workloads: [pod("default/alice", "10.99.0.2"), pod("default/bob", "10.99.0.3")] });
  await mesh.serve("default/bob", "10.99.0.3");
  return { mesh, client: await mesh.serve("default/alice", "10.99.0.2"), port: app.port, step };
}

/** The same time, but for what the wall clock says. */
function stepping(clock: Clock): { stepped: Clock; step: (ms: number) => void } {
  let skewMs = 0;
  const stepped: Clock = {
    nowMs: () => clock.nowMs(),
    wallMs: () => clock.wallMs() + skewMs,
    after: (delayMs, fire) => clock.after(delayMs, fire),
  };
  return { stepped, step: (ms) => (skewMs = ms) };
}

/** @returns what came back, or the error that came instead. */
function echo(socket: Socket, words: string): Promise<string> {
  socket.write(words);
  return new Promise((resolve) => {
    socket.once("data", (chunk) => resolve(String(chunk)));
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}
