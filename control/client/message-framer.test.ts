import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { promisify } from "node:util";
import { Client, credentials, Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { StreamDecoder } from "@grpc/grpc-js/build/src/stream-decoder.js";
import fc from "fast-check";
import { systemClock } from "../../core/base/clock.ts";
import { unhurried } from "../../core/base/pace.ts";
import { rawService, same } from "../../test/support/raw-stream.ts";
import { MessageFramer, paceMessages, useMessageFramer } from "./message-framer.ts";

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

test("a large message comes whole, a rest after each piece of it, where somebody would be held up", async (t) => {
  const server = new Server({ "grpc.max_send_message_length": -1 });
  server.addService(rawService(path, true), {
    call: (call: Echo) => call.on("data", (sent: Buffer) => call.write(sent)),
  });
  const bind = promisify(server.bindAsync.bind(server));
  const port = await bind("127.0.0.1:0", ServerCredentials.createInsecure());
  useMessageFramer();
  let rests = 0;
  let isBusy = true;
  const rest = (): Promise<void> => {
    rests += 1;
    return Promise.resolve();
  };
  paceMessages({ clock: systemClock, isBusy: () => isBusy, rest });
  t.after(() => {
    paceMessages(unhurried(systemClock));
    client.close();
    server.forceShutdown();
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const call = client.makeBidiStreamRequest(path, same, same);
  call.on("error", () => undefined); // it is cut in the end
  const answers = call[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const asked = async (length: number): Promise<number> => {
    rests = 0;
    const sent = randomBytes(length);
    call.write(sent);
    assert.ok(sent.equals((await answers.next()).value as Buffer));
    return rests;
  };
  assert.equal(await asked(10), 0);
  const many = await asked(1_000_000);
  assert.ok(many >= 10 && many <= 15, `${many} rests`);
  assert.equal(await asked(10), 0);
  isBusy = false;
  assert.equal(await asked(1_000_000), 0);
});

const path = "/test/stream";
type Echo = ServerDuplexStream<Buffer, Buffer>;

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
