import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, Socket, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { until } from "../../test/support/until.ts";
import { readBy, withLentReads } from "./lent-reads.ts";
import { connectTcp } from "./sockets.ts";

/** Two ends of one connection on loopback, both with lent reads: whoever connected, and whoever was accepted. */
async function pair(t: TestContext): Promise<readonly [Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const accepted = once(server, "connection") as Promise<[Socket]>;
  const remote = { address: "127.0.0.1", port: (server.address() as AddressInfo).port };
  const client = connectTcp({ remote, lendsReads: true });
  const [socket] = await accepted;
  const ends = [client, withLentReads(socket)] as const;
  t.after(() => ends.forEach((end) => end.destroy()));
  return ends;
}

class Reader {
  text = "";
  readonly buffers = new Set<ArrayBufferLike>();

  read(bytes: Uint8Array): void {
    this.buffers.add(bytes.buffer);
    this.text += Buffer.from(bytes).toString("latin1");
  }
}

test("each socket's octets come to its own reader, and all lie in one buffer", async (t) => {
  const [a, b] = await Promise.all([pair(t), pair(t)]);
  const readers = [...a, ...b].map((socket) => {
    const reader = new Reader();
    assert.ok(readBy(socket, reader));
    socket.resume();
    return reader;
  });
  [...a, ...b].forEach((socket, at) => socket.write(`from ${at}`));
  await until("all have come", 5_000, () => readers.every(({ text }) => text.length === 6));
  assert.deepEqual(
    readers.map(({ text }) => text),
    ["from 1", "from 0", "from 3", "from 2"],
  );
  assert.equal(new Set(readers.flatMap(({ buffers }) => [...buffers])).size, 1);
});

test("nothing is read while it is paused, and an end is heard once all has been read", async (t) => {
  const [client, server] = await pair(t);
  const reader = new Reader();
  readBy(server, reader);
  server.pause();
  const ended = once(server, "end");
  client.end("last words");
  await once(client, "finish");
  assert.equal(reader.text, "");
  server.resume();
  await ended;
  assert.equal(reader.text, "last words");
  assert.equal(server.destroyed, false, "the other half is still open");
  assert.equal(server.bytesRead, 10);
  server.end("and mine");
});

test("a reset is an error, and then it is closed", async (t) => {
  const [client, server] = await pair(t);
  readBy(server, new Reader());
  server.resume();
  const failed = once(server, "error") as Promise<[NodeJS.ErrnoException]>;
  const closed = new Promise((resolve) => server.once("close", resolve));
  client.resetAndDestroy();
  assert.equal((await failed)[0].code, "ECONNRESET");
  await closed;
});

test("what an accepted socket knew of its ends it still knows", async (t) => {
  const [client, server] = await pair(t);
  assert.deepEqual(
    [server.remoteAddress, server.remotePort, server.localAddress],
    ["127.0.0.1", client.localPort, "127.0.0.1"],
  );
});

test("an ordinary socket is left as it is", () => {
  const socket = new Socket();
  assert.equal(readBy(socket, new Reader()), false);
  assert.equal(withLentReads(socket), socket);
  const other = connect({ port: 1, host: "127.0.0.1" }).on("error", () => {});
  assert.equal(readBy(other, new Reader()), false);
  other.destroy();
});
