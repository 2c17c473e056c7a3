import assert from "node:assert/strict";
import { test } from "node:test";
import { StreamDecoder } from "@grpc/grpc-js/build/src/stream-decoder.js";
import fc from "fast-check";
import { MessageFramer } from "./message-framer.ts";

test("messages come out of a stream as grpc-js's own decoder has them, wherever it is cut", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 20 }), (bodies, cuts) => {
      const stream = Buffer.concat(bodies.map(message));
      const [ours, theirs] = [new MessageFramer(-1), new StreamDecoder(-1)];
      for (const piece of pieces(stream, cuts)) {
        assert.deepEqual(ours.write(Buffer.from(piece)), theirs.write(Buffer.from(piece)));
      }
    }),
  );
});

test("a message that says that it is longer than it may be is refused when its head has come", () => {
  const framer = new MessageFramer(10);
  assert.equal(framer.write(message(new Uint8Array(10))).length, 1);
  assert.throws(() => framer.write(message(new Uint8Array(11)).subarray(0, 5)), /larger than max \(11 vs 10\)/);
});

test("what a piece was read into may be used again as soon as it is written", () => {
  const framer = new MessageFramer(-1);
  const [first, rest] = [message(Buffer.from("hello")).subarray(0, 7), message(Buffer.from("hello")).subarray(7)];
  const lent = Buffer.from(first);
  framer.write(lent);
  lent.fill(0);
  assert.deepEqual(framer.write(rest), [message(Buffer.from("hello"))]);
});

function message(body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

function* pieces(stream: Buffer, cuts: readonly number[]): Generator<Buffer> {
  let from = 0;
  for (const cut of cuts) {
    yield stream.subarray(from, (from += cut));
    if (from >= stream.length) return;
  }
  yield stream.subarray(from);
}
