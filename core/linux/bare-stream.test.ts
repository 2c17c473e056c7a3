import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { listenForEnds, portOf, socketPair } from "../../test/support/socket-kinds.ts";
import { until } from "../../test/support/until.ts";
import type { BareSocket } from "./bare-socket.ts";
import { BareStream } from "./bare-stream.ts";
import { LinuxError } from "./errno.ts";
import { connectBare } from "./sockets.ts";

interface Pair {
  readonly stream: BareStream;
  /** What it emitted, and what came, in order. */
  readonly told: string[];
  readonly other: Socket;
}

/** A stream that was accepted, and who has connected to it. */
async function pair(t: TestContext): Promise<Pair> {
  const [socket, other] = await socketPair("bare", true);
  const stream = new BareStream(socket as BareSocket);
  t.after(() => {
    stream.destroy();
    other.destroy();
  });
  return { stream, told: telling(stream), other };
}

function telling(stream: BareStream): string[] {
  const told: string[] = [];
  for (const event of ["connect", "drain", "end", "finish", "close"] as const) stream.on(event, () => told.push(event));
  stream.on("error", (error) => told.push(error.errno ?? "?"));
  stream.reader = { read: (bytes) => void told.push(String(Buffer.from(bytes))) };
  return told;
}

test("what comes is its reader's, and counted", async (t) => {
  const { stream, told, other } = await pair(t);
  assert.deepEqual(stream.remote, { address: "127.0.0.1", port: other.localPort });
  assert.deepEqual(stream.local, { address: "127.0.0.1", port: other.remotePort });
  stream.resume();
  other.write("hello");
  await until("it came", 5_000, () => told.length > 0);
  assert.deepEqual(told, ["hello"]);
  assert.equal(stream.bytesRead, 5);
});

test("what is written while it is corked goes out as one", async (t) => {
  const { stream, other } = await pair(t);
  const came: string[] = [];
  other.on("data", (chunk) => came.push(String(chunk)));
  stream.cork();
  stream.cork();
  for (const text of ["one ", "two ", "three"]) assert.equal(stream.write(Buffer.from(text)), true);
  assert.deepEqual([stream.writableCorked, stream.writableLength], [1, 13]);
  // Two turns of the loop: what had been sent would have come.
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(came, []);
  stream.uncork();
  stream.uncork();
  assert.deepEqual([stream.writableCorked, stream.writableLength], [0, 0]);
  await once(other, "data");
  assert.deepEqual(came, ["one two three"]);
});

test("what is corked goes out before the end", async (t) => {
  const { stream, told, other } = await pair(t);
  stream.cork();
  stream.write(Buffer.from("last words"));
  let sent = 0;
  stream.end(() => (sent += 1));
  assert.equal(sent, 0, "not within the call");
  const came: string[] = [];
  other.on("data", (chunk) => came.push(String(chunk)));
  await once(other, "end");
  assert.deepEqual([came, told, sent], [["last words"], ["finish"], 1]);
  assert.equal(stream.writableFinished, true);
});

test("it ends when its peer does, after what is said to that", async (t) => {
  const { stream, told, other } = await pair(t);
  stream.once("end", () => stream.write(Buffer.from("goodbye")));
  stream.resume();
  const came: string[] = [];
  other.on("data", (chunk) => came.push(String(chunk)));
  other.end("bye");
  await once(other, "end");
  await until("it is closed", 5_000, () => told.includes("close"));
  assert.deepEqual(came, ["goodbye"]);
  assert.deepEqual(told.slice(0, 2), ["bye", "end"]);
  assert.equal(stream.destroyed, true);
});

test("its end waits for a reader that is slow, and then says that all is sent", async (t) => {
  const { stream, told, other } = await pair(t);
  other.pause();
  const chunk = Buffer.alloc(1 << 20);
  let octets = 0;
  while (stream.writableLength === 0) {
    assert.equal(stream.write(chunk), false);
    octets += chunk.length;
  }
  let sent = 0;
  stream.end(() => (sent += 1));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([sent, stream.writableFinished], [0, false]);
  let came = 0;
  other.on("data", (bytes) => (came += bytes.length));
  other.resume();
  await once(other, "end");
  assert.equal(came, octets);
  assert.equal(sent, 1);
  assert.ok(told.includes("finish"));
});

test("a peer's reset is an error, and then the end", async (t) => {
  const { stream, told, other } = await pair(t);
  stream.resume();
  other.resetAndDestroy();
  await until("it is closed", 5_000, () => told.includes("close"));
  assert.deepEqual(told, ["ECONNRESET", "close"]);
});

test("what is destroyed says only that it is closed, and what was corked is forgotten", async (t) => {
  const { stream, told, other } = await pair(t);
  const came: string[] = [];
  other.on("data", (chunk) => came.push(String(chunk)));
  stream.cork();
  stream.write(Buffer.from("never"));
  stream.destroy();
  assert.equal(stream.writableLength, 0);
  assert.equal(stream.fd, undefined);
  await once(other, "end");
  assert.deepEqual([told, came], [["close"], []]);
});

test("one that connects says so once; one that is refused says why, and is closed", async () => {
  const server = await listenForEnds("node", (socket) => socket.destroy());
  const remote = { address: "127.0.0.1", port: portOf(server) };
  const begin = (): BareStream => {
    const stream = BareStream.connecting((connected) => connectBare({ remote }, connected));
    assert.ok(!(stream instanceof LinuxError));
    assert.equal(stream.connecting, true);
    return stream;
  };
  const stream = begin();
  const told = telling(stream);
  await once(stream, "connect");
  assert.deepEqual([told, stream.connecting], [["connect"], false]);
  stream.destroy();
  server.close();
  await once(server, "close");
  const refused = begin();
  const heard = telling(refused);
  await until("it is closed", 5_000, () => heard.includes("close"));
  assert.deepEqual([heard, refused.connecting], [["ECONNREFUSED", "close"], false]);
});

test("one that can't even begin is no stream", () => {
  const stream = BareStream.connecting(() => new LinuxError({ code: "linux.not-an-address", address: "nowhere" }));
  assert.ok(stream instanceof LinuxError);
});
