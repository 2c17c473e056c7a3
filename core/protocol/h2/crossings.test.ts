/** What both ends say at once, and what is still on its way when one of them changes its mind. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimPair } from "../../../test/sim/h2-pair.ts";
import { errorCodes } from "./error-code.ts";
import { frameTypes } from "./frame.ts";
import { frameHeader } from "./frame-writer.ts";

test("behind a GOAWAY that names the last stream no other is opened, and behind its announcement they still are", () => {
  const pair = new SimPair();
  pair.open();
  pair.server.connection.announceGoaway();
  pair.settle();
  pair.open();
  pair.server.connection.goaway();
  pair.settle();
  assert.throws(() => pair.client.connect(), /no stream/);
  assert.equal(pair.server.streams.length, 2);
  assert.equal(pair.client.outbox.length, 0);
});

test("a GOAWAY can't take back that streams are refused", () => {
  const pair = new SimPair();
  pair.open();
  pair.server.connection.goaway();
  pair.settle();
  const raised = Buffer.concat([
    frameHeader(frameTypes.GOAWAY, 0, 0, 8),
    Buffer.from([0x7f, 255, 255, 255, 0, 0, 0, 0]),
  ]);
  pair.client.receive(raised);
  assert.throws(() => pair.client.connect(), /no stream/);
});

test("resets that cross as both ends are done with their streams are no abuse, however many", () => {
  const pair = new SimPair();
  for (let i = 0; i < 3_000; i++) {
    const near = pair.client.connect();
    near.answered = () => pair.client.connection.reset(near.stream, errorCodes.CANCEL);
    pair.settle();
    const { stream } = pair.server.streams.at(-1)!;
    pair.server.connection.answer(stream, 503, [], true);
    pair.server.connection.reset(stream, errorCodes.NO_ERROR);
    pair.settle();
    assert.deepEqual([pair.client.error, pair.server.error], [undefined, undefined], `at the ${i}th`);
  }
});

test("a second reset of the same stream is worth as little as an empty frame", () => {
  const pair = new SimPair();
  const { near, far } = pair.open();
  pair.server.connection.reset(far.stream, errorCodes.CANCEL);
  const reset = Buffer.concat([frameHeader(frameTypes.RST_STREAM, 0, near.stream.id, 4), Buffer.alloc(4)]);
  for (let i = 0; i < 1_001; i++) pair.server.receive(reset);
  assert.ok(pair.server.isWell);
  pair.server.receive(reset);
  assert.deepEqual(pair.server.error?.type, { code: "h2.abuse", account: "empty-frames" });
});

test("answers to 2,000 streams that were taken back meanwhile end nothing", () => {
  const pair = new SimPair();
  for (let i = 0; i < 2_000; i++) {
    const { stream } = pair.client.connect();
    pair.client.connection.reset(stream, errorCodes.CANCEL);
    // So that the server spends nothing on it.
    pair.client.nowMs = pair.server.nowMs += 10;
  }
  const { server } = pair;
  const take = server.request.bind(server);
  server.request = (stream, head, ended) => {
    take(stream, head, ended);
    server.connection.answer(stream, 200);
    server.nowMs += 10;
  };
  const [requests] = [Buffer.concat(pair.client.outbox)];
  pair.client.outbox = [];
  for (let at = 0; at < requests.length; at += 100) server.receive(requests.subarray(at, at + 100));
  pair.settle();
  assert.deepEqual([pair.client.error, server.error], [undefined, undefined]);
  assert.equal(server.streams.length, 2_000);
});

test("windows that are told smaller and larger again before the peer has heard hold as the peer hears them", () => {
  for (const told of [
    [20_000, 100_000],
    [100_000, 20_000],
    [20_000, 100_000, 30_000],
    [1, 2, 3, 90_000, 5, 80_000],
  ]) {
    const pair = new SimPair();
    const { near, far } = pair.open();
    far.reads = false;
    for (const window of told) pair.server.connection.resizeWindows(window);
    pair.client.connection.send(near.stream, Buffer.alloc(200_000));
    pair.settle();
    pair.client.connection.send(near.stream, Buffer.alloc(200_000));
    pair.settle();
    assert.deepEqual([pair.server.error, far.end], [undefined, undefined], told.join());
    const last = told.at(-1)!;
    assert.equal(far.octets, Math.max(65_535, last));
    assert.equal(far.stream.receiveWindow, last - far.octets);
  }
});

test("a window that becomes smaller than what its stream is owed holds nobody up", () => {
  const pair = new SimPair({ server: { connectionWindow: 1 << 24, settings: wide } });
  const { near, far } = pair.open();
  pair.client.connection.send(near.stream, Buffer.alloc(400_000));
  pair.settle();
  assert.equal(far.stream.owed, 400_000);
  pair.server.connection.resizeWindows(65_535);
  pair.settle();
  assert.equal(near.stream.sendWindow, 65_535);
});

test("a window smaller than the protocol's own is overdrawn by nobody's fault before the peer has heard of it", () => {
  const pair = new SimPair({ server: { settings: { ...wide, initialWindowSize: 1_000 } } });
  const near = pair.client.connect();
  assert.equal(pair.client.connection.send(near.stream, Buffer.alloc(65_535)), 65_535);
  pair.settle();
  const far = pair.server.streams.at(-1)!;
  assert.deepEqual([far.end, far.octets], [undefined, 65_535]);
});

test("a peer that answers none of our SETTINGS is not told more and more", () => {
  const pair = new SimPair();
  const { connection } = pair.server;
  const told = Array.from({ length: 20 }, (_, i) => connection.resizeWindows(60_000 + i));
  assert.ok(told.includes(false));
  pair.settle();
  assert.equal(connection.resizeWindows(70_000), true);
});

test("a request that can't be written leaves no stream, and no trace in the table that the others are read with", () => {
  const pair = new SimPair();
  const [method, baggage] = [
    { name: ":method", value: "CONNECT" },
    { name: "baggage", value: "only here" },
  ];
  const listener = pair.open().near;
  const unfit = [method, baggage, { name: "forwarded", value: "host=\u4f8b" }];
  assert.throws(() => pair.client.connection.open(unfit, listener), RangeError);
  assert.equal(pair.client.connection.streams, 1);
  assert.ok(pair.client.connection.open([method, { name: ":authority", value: "b:1" }, baggage], listener));
  pair.settle();
  assert.equal(pair.server.error, undefined);
  assert.deepEqual(pair.server.streams.at(-1)?.request?.fields, [baggage]);
});

const wide = { initialWindowSize: 1 << 20, maxFrameSize: 16_384, maxHeaderListSize: 65_536 };
