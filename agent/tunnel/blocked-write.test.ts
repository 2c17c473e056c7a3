import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import { relayedPath, type RelayedConnection } from "../../test/support/relayed-path.ts";
import { BlockedWrite } from "./blocked-write.ts";

/** A socket of which only the kernel's side is there. */
function standing(): { handle: FakeHandle; clock: ManualClock; write: BlockedWrite } {
  const handle = new FakeHandle();
  const clock = new ManualClock();
  return { handle, clock, write: new BlockedWrite({ _handle: handle, destroyed: false } as unknown as Socket, clock) };
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

test("the looks end a second after the last write, and the keepalive's go on", () => {
  const { handle, clock, write } = standing();
  write.wrote();
  clock.advance(2_000);
  handle.bytesWritten = handle.writeQueueSize = 1_000;
  clock.advance(2_000);
  assert.deepEqual(handle.asked, []);
  write.look();
  write.look();
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
