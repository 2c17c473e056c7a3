import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { AbuseBudget } from "./abuse-budget.ts";
import { SendSide } from "./send-side.ts";
import { settingIds } from "./settings.ts";
import { H2Stream, noListener } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

suite("what we send", () => {
  test("a stream that new settings let send does so only when all of them are in force, in whatever order they came", () => {
    const written: Uint8Array[] = [];
    const streams = new StreamTable("client");
    const send = new SendSide(
      { write: (bytes) => written.push(bytes), room: () => Infinity },
      streams,
      new AbuseBudget(),
    );
    send.apply([[settingIds.MAX_FRAME_SIZE, 30_000]]);
    const chunk = new Uint8Array(40_000);
    const writable = (stream: H2Stream): void => void send.data(stream, chunk, 0);
    const stream = new H2Stream(1, { ...noListener, writable }, { send: 0, receive: 0 }, true);
    streams.add(stream);
    assert.equal(send.data(stream, chunk, 0), 0);
    send.apply([
      [settingIds.INITIAL_WINDOW_SIZE, 65_535 + 40_000],
      [settingIds.MAX_FRAME_SIZE, 16_384],
    ]);
    const sizes = written.filter((_, index) => index % 2 === 1).map(({ length }) => length);
    assert.deepEqual(sizes, [16_384, 16_384, 7_232]);
  });

  test("a stream whose window was shrunk below nothing waits until it is above", () => {
    const sent: number[] = [];
    const streams = new StreamTable("client");
    const send = new SendSide({ write: () => undefined, room: () => Infinity }, streams, new AbuseBudget());
    const chunk = new Uint8Array(100_000);
    const writable = (stream: H2Stream): void => void sent.push(send.data(stream, chunk, 0));
    const stream = new H2Stream(1, { ...noListener, writable }, { send: 1_000, receive: 0 }, true);
    streams.add(stream);
    assert.equal(send.data(stream, chunk, 0), 1_000);
    send.apply([[settingIds.INITIAL_WINDOW_SIZE, 65_535 - 500]]);
    assert.ok(send.streamWindowUpdate(stream, 500));
    assert.deepEqual(sent, []);
    assert.ok(send.streamWindowUpdate(stream, 7));
    assert.deepEqual(sent, [7]);
  });
});
