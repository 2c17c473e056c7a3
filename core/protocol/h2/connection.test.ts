import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SimEnd, SimPair, type SimStream } from "../../../test/sim/h2-pair.ts";
import type { AbuseAccount } from "./abuse-budget.ts";
import { errorCodes } from "./error-code.ts";
import { clientPreface, flags, frameTypes } from "./frame.ts";
import {
  frameHeader,
  goawayFrame,
  pingFrame,
  resetFrame,
  settingsAnswer,
  settingsFrame,
  windowUpdateFrame,
} from "./frame-writer.ts";
import { HpackEncoder } from "./hpack/encoder.ts";

test("F-080 a CONNECT is answered with 200, carries bytes both ways, and each end is heard once", () => {
  const pair = new SimPair();
  const { near, far } = pair.open();
  assert.equal(far.request?.method, "CONNECT");
  assert.equal(far.request.authority, "10.0.0.1:80");
  pair.client.connection.send(near.stream, Buffer.from("ping"));
  pair.server.connection.send(far.stream, Buffer.from("pong"));
  pair.client.connection.end(near.stream);
  pair.settle();
  assert.deepEqual(far.events, ["ended"]);
  pair.server.connection.send(far.stream, Buffer.from("!"));
  pair.server.connection.end(far.stream);
  pair.settle();
  assert.equal(textOf(far), "ping");
  assert.equal(textOf(near), "pong!");
  assert.deepEqual(near.events, ["answered 200", "ended", "closed"]);
  assert.deepEqual(far.events, ["ended", "closed"]);
  assert.equal(pair.client.connection.streams + pair.server.connection.streams, 0);
});

test("whatever a link does to the octets' grouping, both ends understand the same", () => {
  const piece = fc.integer({ min: 1, max: 40 });
  fc.assert(
    fc.property(fc.infiniteStream(piece), fc.array(fc.nat(70_000), { maxLength: 5 }), (pieces, sizes) => {
      const pair = new SimPair({}, () => Number(pieces.next().value));
      const { near, far } = pair.open();
      const sent = sizes.map((size, i) => Buffer.alloc(size, i));
      for (const chunk of sent) sendAll(pair, pair.client, near, chunk);
      pair.client.connection.end(near.stream);
      pair.settle();
      assert.ok(Buffer.concat(far.received).equals(Buffer.concat(sent)));
      assert.deepEqual(far.events, ["ended"]);
    }),
    { numRuns: 20 },
  );
});

test("a reader that stalls gets its window and no more, and no other stream waits for it", () => {
  const pair = new SimPair({ server: { connectionWindow: 100_000 } });
  const [stalled, other] = [pair.open(), pair.open()];
  stalled.far.reads = false;
  const chunk = Buffer.alloc(300_000);
  const taken = pair.client.connection.send(stalled.near.stream, chunk);
  pair.settle();
  assert.equal(taken, 65_535);
  assert.equal(pair.server.connection.held, 65_535);
  sendAll(pair, pair.client, other.near, chunk);
  assert.equal(other.far.octets, chunk.length);
  stalled.far.read();
  pair.settle();
  assert.deepEqual(stalled.near.events.slice(1), ["writable"]);
  sendAll(pair, pair.client, stalled.near, chunk.subarray(taken));
  assert.equal(stalled.far.octets, chunk.length);
  assert.equal(pair.server.connection.held, 0);
});

test("streams that wait for the transport are served in turn, a frame each", () => {
  const pair = new SimPair({ server: { connectionWindow: 1 << 24, settings: wide } });
  const streams = [pair.open(), pair.open(), pair.open()];
  pair.client.capacity = 20_000;
  const order: number[] = [];
  for (const { near } of streams) {
    const chunk = Buffer.alloc(40_000);
    let from = 0;
    near.writable = () => {
      order.push(near.stream.id);
      from = pair.client.connection.send(near.stream, chunk, from);
    };
    from = pair.client.connection.send(near.stream, chunk, from);
  }
  pair.settle();
  assert.deepEqual(
    streams.map(({ far }) => far.octets),
    [40_000, 40_000, 40_000],
  );
  assert.deepEqual(order.slice(0, 6), [1, 3, 5, 1, 3, 5]);
});

test("what may come, what is held and what is owed are the window, whatever happens", () => {
  const act = fc.oneof(
    fc.record({ kind: fc.constant("send" as const), octets: fc.nat(30_000) }),
    fc.record({ kind: fc.constant("stall" as const) }),
    fc.record({ kind: fc.constant("read" as const) }),
  );
  fc.assert(
    fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
      const pair = new SimPair();
      const { near, far } = pair.open();
      for (const one of acts) {
        if (one.kind === "send") pair.client.connection.send(near.stream, Buffer.alloc(one.octets));
        if (one.kind === "stall") far.reads = false;
        if (one.kind === "read") far.read();
        pair.settle();
        const { receiveWindow, owed } = far.stream;
        assert.equal(receiveWindow + owed + far.unread, 65_535);
        assert.equal(near.stream.sendWindow, receiveWindow);
      }
    }),
  );
});

test("a reset is heard with its code, and what was under way is ignored", () => {
  const pair = new SimPair();
  const { near, far } = pair.open();
  pair.server.connection.send(far.stream, Buffer.from("too late"));
  pair.client.connection.reset(near.stream, errorCodes.CONNECT_ERROR);
  pair.settle();
  assert.deepEqual(near.events, ["answered 200", "closed"]);
  assert.deepEqual(far.end, { by: "peer", errorCode: errorCodes.CONNECT_ERROR });
  assert.equal(pair.client.error, undefined);
  assert.equal(pair.client.connection.streams, 0);
});

test("F-089 between the two GOAWAYs streams are taken, behind the second they are refused", () => {
  const pair = new SimPair();
  pair.open();
  pair.server.connection.announceGoaway();
  const meanwhile = pair.open();
  assert.equal(meanwhile.near.answer?.status, 200);
  pair.server.connection.goaway();
  const late = pair.client.connect();
  pair.settle();
  assert.deepEqual(pair.client.leavings, [
    { lastStreamId: 0x7fff_ffff, errorCode: 0 },
    { lastStreamId: 3, errorCode: 0 },
  ]);
  assert.deepEqual(late.end, { by: "goaway" });
  assert.deepEqual(meanwhile.near.events, ["answered 200"]);
});

test("a stream beyond the limit is refused, and the next one is taken once there is room", () => {
  const pair = new SimPair({ server: { settings: { ...wide, maxConcurrentStreams: 2 } } });
  const { near } = pair.open();
  pair.open();
  const third = pair.client.connect();
  pair.settle();
  assert.deepEqual(third.end, { by: "peer", errorCode: errorCodes.REFUSED_STREAM });
  pair.client.connection.reset(near.stream, errorCodes.CANCEL);
  pair.settle();
  assert.equal(pair.open().near.answer?.status, 200);
});

test("the connection's end reaches every stream", () => {
  const pair = new SimPair();
  const { near } = pair.open();
  const waiting = pair.client.connect();
  pair.client.connection.lose();
  assert.deepEqual([near.end, waiting.end], [{ by: "connection" }, { by: "connection" }]);
  assert.equal(pair.client.connection.open([], near), undefined);
});

test("padding is given back as if it had been read", () => {
  const pair = new SimPair();
  const { near, far } = pair.open();
  const padded = Buffer.concat([
    frameHeader(frameTypes.DATA, flags.PADDED, near.stream.id, 1 + 5 + 200),
    Buffer.from([200]),
    Buffer.from("bytes"),
    Buffer.alloc(200),
  ]);
  for (const octet of padded) pair.server.receive(Uint8Array.of(octet));
  assert.equal(textOf(far), "bytes");
  assert.equal(far.stream.receiveWindow + far.stream.owed, 65_535);
});

test("random octets after the preface end the connection with a typed error and never throw", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (chunks) => {
      const server = new SimEnd({ role: "server" });
      server.receive(clientPreface);
      server.receive(settingsFrame([]));
      for (const chunk of chunks) server.receive(chunk);
    }),
  );
});

test("what is no HTTP/2 is told from it by its first octets", () => {
  const server = new SimEnd({ role: "server" });
  server.receive(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
  assert.deepEqual(server.error?.type, { code: "h2.no-preface", began: "GET / HTTP/1.1...." });
});

/** What a peer may send this often, and not once more in the same moment. */
const floods: { account: AbuseAccount; most: number; frame: (i: number) => Uint8Array }[] = [
  { account: "control-frames", most: 999, frame: () => pingFrame(new Uint8Array(8), false) },
  { account: "control-frames", most: 999, frame: () => settingsFrame([]) },
  { account: "empty-frames", most: 1_000, frame: () => frameHeader(0x77, 0, 0, 0) },
  { account: "empty-frames", most: 1_000, frame: () => pingFrame(new Uint8Array(8), true) },
  { account: "empty-frames", most: 1_000, frame: () => frameHeader(frameTypes.DATA, 0, 1, 0) },
  { account: "window-updates", most: 4_000, frame: () => windowUpdateFrame(0, 1) },
  { account: "announcements", most: 100, frame: () => frameHeader(frameTypes.ALTSVC, 0, 0, 0) },
  { account: "goaways", most: 10, frame: () => goawayFrame(0, 0) },
];

for (const { account, most, frame } of floods) {
  const type = frame(0)[3] ?? 0;
  test(`H007 H008 H012 H024 H025 a peer may overdraw no account: ${account} by frames of type ${type}`, () => {
    const server = serverWithStream();
    for (let i = 0; i < most; i++) server.receive(frame(i));
    assert.ok(server.isWell);
    server.receive(frame(most));
    assert.deepEqual(server.error?.type, { code: "h2.abuse", account });
  });
}

test("H001 streams that are opened and taken back a thousand times over are too many, those of a second apart are not", () => {
  const encoder = new HpackEncoder();
  const flood = (server: SimEnd, everyMs: number): number => {
    for (let id = 3; id < 6_003; id += 2) {
      const block = encoder.encode([
        { name: ":method", value: "CONNECT" },
        { name: ":authority", value: "a:1" },
      ]);
      server.nowMs += everyMs;
      server.receive(frameHeader(frameTypes.HEADERS, flags.END_HEADERS, id, block.length));
      server.receive(block);
      server.receive(resetFrame(id, errorCodes.CANCEL));
      if (server.error !== undefined) return (id - 1) / 2;
    }
    return Infinity;
  };
  assert.equal(flood(serverWithStream(), 0), 1_001);
  assert.equal(flood(serverWithStream(), 10), Infinity);
});

const wide = { initialWindowSize: 1 << 20, maxFrameSize: 16_384, maxHeaderListSize: 65_536 };

/** A server whose raw client has opened stream 1. */
function serverWithStream(): SimEnd {
  const server = new SimEnd({ role: "server" });
  const block = new HpackEncoder().encode([
    { name: ":method", value: "CONNECT" },
    { name: ":authority", value: "a:1" },
  ]);
  server.receive(clientPreface);
  server.receive(settingsFrame([]));
  server.receive(settingsAnswer());
  server.receive(frameHeader(frameTypes.HEADERS, flags.END_HEADERS, 1, block.length));
  server.receive(block);
  assert.equal(server.streams.length, 1);
  return server;
}

function sendAll(pair: SimPair, end: SimEnd, stream: SimStream, chunk: Uint8Array): void {
  for (let at = 0; at < chunk.length;) {
    const before = at;
    at = end.connection.send(stream.stream, chunk, at);
    pair.settle();
    assert.ok(at > before || at === chunk.length, "nothing moves");
  }
}

function textOf(stream: SimStream): string {
  return Buffer.concat(stream.received).toString();
}
