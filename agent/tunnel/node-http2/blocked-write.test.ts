import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { ManualClock } from "../../../core/base/clock.ts";
import { relayedPath, type RelayedConnection, type RelayedPath } from "../../../test/support/relayed-path.ts";
import { until } from "../../../test/support/until.ts";
import { BlockedWrite } from "./blocked-write.ts";

/** A socket of which only the kernel's side is there. */
function standing(): { handle: FakeHandle; tls: FakeTls; clock: ManualClock; write: BlockedWrite } {
  const handle = new FakeHandle();
  const clock = new ManualClock();
  const tls = new FakeTls();
  const sockets = {
    session: tls.session,
    tls: tls as unknown as TLSSocket,
    socket: { _handle: handle } as unknown as Socket,
  };
  return { handle, tls, clock, write: new BlockedWrite(sockets, clock) };
}

class FakeTls {
  readonly session = { destroyed: false };
  readonly _handle = { writeQueueSize: 0 };
  destroyed = false;
  destroy(): void {
    this.destroyed = true;
  }
}

class FakeHandle {
  writeQueueSize = 0;
  bytesWritten = 0;
  bytesRead = 0;
  readonly asked: string[] = [];
  readStart(): number {
    this.asked.push("start");
    return 0;
  }
  readStop(): number {
    this.asked.push("stop");
    return 0;
  }
}

/** Long enough for two looks. */
const twoLooksMs = 41;
const mebibyte = 2 ** 20;

test("a write that stands still makes the socket read on", () => {
  const { handle, clock, write } = standing();
  handle.bytesWritten = handle.writeQueueSize = 1_000;
  write.wrote();
  clock.advance(twoLooksMs);
  assert.deepEqual(handle.asked, ["start"]);
});

test("a write that gets on, or is followed by the next one, is left alone", () => {
  const { handle, clock, write } = standing();
  handle.bytesWritten = handle.writeQueueSize = 1_000;
  write.wrote();
  for (let i = 0; i < 10; i++) {
    clock.advance(20);
    handle.writeQueueSize -= 10;
  }
  for (let i = 0; i < 10; i++) {
    clock.advance(20);
    handle.bytesWritten += 500;
  }
  assert.deepEqual(handle.asked, []);
});

test("a socket without a write under way is left alone", () => {
  const { handle, clock, write } = standing();
  write.wrote();
  clock.advance(twoLooksMs);
  assert.deepEqual(handle.asked, []);
});

test("a peer that sends beyond its window while it takes nothing is not read from any more", () => {
  const { handle, clock, write } = standing();
  handle.bytesWritten = handle.writeQueueSize = 1_000;
  write.wrote();
  clock.advance(twoLooksMs);
  handle.bytesRead = 16 * mebibyte;
  clock.advance(20);
  assert.deepEqual(handle.asked, ["start", "start"], "a window's worth is its right");
  handle.bytesRead = 17 * mebibyte;
  clock.advance(20);
  assert.equal(handle.asked.at(-1), "stop");
});

test("a write that TLS holds and TCP knows nothing of makes the socket read on", () => {
  const { handle, tls, clock, write } = standing();
  tls._handle.writeQueueSize = 70;
  handle.bytesWritten = 1_000;
  write.wrote();
  clock.advance(twoLooksMs);
  assert.deepEqual(handle.asked, ["start"]);
});

test("the socket of a destroyed session goes at the next tick, or half a second after we destroyed it", () => {
  for (const [tick, ms] of [
    [true, 0],
    [false, 501],
  ] as const) {
    const { tls, clock, write } = standing();
    tls.session.destroyed = true;
    if (tick) write.tick();
    else write.destroyed();
    assert.equal(tls.destroyed, tick);
    clock.advance(ms);
    assert.equal(tls.destroyed, true);
  }
});

test("the looks end a second after the last write, and the keepalive's go on", () => {
  const { handle, clock, write } = standing();
  write.wrote();
  clock.advance(2_000);
  handle.bytesWritten = handle.writeQueueSize = 1_000;
  clock.advance(2_000);
  assert.deepEqual(handle.asked, []);
  write.tick();
  write.tick();
  assert.deepEqual(handle.asked, ["start"]);
});

test(
  "a tunnel whose both sides send more than the kernel holds does not stand still",
  { timeout: 30_000 },
  async () => {
    const path = await relayedPath();
    const connections: RelayedConnection[] = [];
    while (connections.length < 8) connections.push(await path.open());
    const total = 8 * mebibyte;
    const got = await Promise.all(
      connections.map(({ client, application }) => {
        application.pipe(application);
        for (let sent = 0; sent < total; sent += mebibyte) client.write(Buffer.alloc(mebibyte));
        client.end();
        let bytes = 0;
        client.on("data", (chunk: Buffer) => (bytes += chunk.length));
        return new Promise<number>((resolve, reject) => client.on("end", () => resolve(bytes)).on("error", reject));
      }),
    );
    assert.deepEqual(
      got,
      connections.map(() => total),
    );
    await path.close();
  },
);

const deaths: Readonly<Record<string, (path: RelayedPath) => void>> = {
  "by its client": (path) => path.tunnel.destroy(),
  "by its server": (path) => path.server.hbone.destroy(),
  "by a reset beneath it": (path) => path.server.resetConnections(),
};

for (const [how, destroy] of Object.entries(deaths)) {
  test(
    `a tunnel that is destroyed ${how} while both sides write ends all that is in it`,
    { timeout: 30_000 },
    async () => {
      const path = await relayedPath();
      const connections: RelayedConnection[] = [];
      while (connections.length < 8) connections.push(await path.open());
      for (const { client, application } of connections) {
        application.pipe(application).on("error", () => {});
        client.on("error", () => {}).resume();
        const pump = (): void => {
          while (!client.destroyed && client.write(Buffer.alloc(mebibyte)));
        };
        client.on("drain", pump);
        pump();
      }
      await until("bytes flow", 10_000, () => connections.every(({ relay }) => relay.backward > mebibyte));
      destroy(path);
      const outcomes = await Promise.all(connections.map((connection) => connection.outcomes));
      assert.deepEqual(new Set(outcomes.flat().map(({ kind }) => kind)), new Set(["reset"]));
      await path.close();
    },
  );
}
