import assert from "node:assert/strict";
import { once } from "node:events";
import { fstatSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import { until } from "../../test/support/until.ts";
import { bareSocketFault } from "./bare-socket-check.ts";
import { BareSocket, type BareSocketListener } from "./bare-socket.ts";
import { errnoOf, LinuxError } from "./errno.ts";
import { originalDestination } from "./original-destination.ts";
import { connectBare } from "./sockets.ts";
import { acceptHandles } from "./tcp-handle.ts";

/** What a socket told. */
class Heard implements BareSocketListener {
  readonly told: string[] = [];
  readonly buffers = new Set<ArrayBufferLike>();
  octets = 0;
  /** Called with each chunk. */
  onRead: (() => void) | undefined;

  read(bytes: Uint8Array): void {
    this.octets += bytes.length;
    this.buffers.add(bytes.buffer);
    this.onRead?.();
  }
  ended(): void {
    this.told.push("ended");
  }
  drained(): void {
    this.told.push("drained");
  }
  failed(error: LinuxError): void {
    this.told.push(error.errno ?? "?");
  }
  closed(): void {
    this.told.push("closed");
  }
}

interface Pair {
  readonly socket: BareSocket;
  readonly heard: Heard;
  readonly other: Socket;
}

/** A bare socket that was accepted, and who has connected to it. */
async function pair(t: TestContext): Promise<Pair> {
  const server = await listen(t);
  const accepted = new Promise<BareSocket>((resolve) =>
    acceptHandles(server, (handle) => resolve(new BareSocket(handle))),
  );
  const other = connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
  await once(other, "connect");
  const socket = await accepted;
  server.close();
  const heard = new Heard();
  socket.listener = heard;
  t.after(() => {
    socket.destroy();
    other.destroy();
  });
  return { socket, heard, other };
}

async function listen(t: TestContext): Promise<Server> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

function connecting(port: number, address = "127.0.0.1"): Promise<BareSocket | LinuxError> {
  return new Promise((resolve) => {
    const socket = connectBare({ remote: { address, port } }, (error) => resolve(error ?? socket));
    if (socket instanceof LinuxError) resolve(socket);
  });
}

test("this Node has what they rely on", async () => {
  assert.equal(await bareSocketFault(), undefined);
});

test("a worker thread has it, too, and what it leaves open is closed with it", { timeout: 10_000 }, async (t) => {
  const server = await listen(t);
  const came = once(server, "connection") as Promise<[Socket]>;
  const code = `
    const { workerData, parentPort } = await import("node:worker_threads");
    const { bareSocketFault } = await import(workerData.check);
    const { connectBare } = await import(workerData.sockets);
    parentPort.postMessage({ fault: await bareSocketFault() });
    const socket = connectBare({ remote: { address: "127.0.0.1", port: workerData.port } }, () => socket.resume());
  `;
  const [check, sockets] = ["./bare-socket-check.ts", "./sockets.ts"].map(
    (file) => new URL(file, import.meta.url).href,
  );
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), {
    workerData: { check, sockets, port: portOf(server) },
  });
  const [message] = (await once(worker, "message")) as [unknown];
  assert.deepEqual(message, { fault: undefined });
  const [socket] = await came;
  const ended = once(socket.resume(), "end");
  await worker.terminate();
  await ended;
});

test("each knows its ends and its descriptor, until it is closed", async (t) => {
  const { socket, heard, other } = await pair(t);
  assert.deepEqual(socket.remote, { address: "127.0.0.1", port: other.localPort });
  assert.deepEqual(socket.local, { address: "127.0.0.1", port: other.remotePort });
  assert.deepEqual(originalDestination(socket), socket.local, "nothing was redirected");
  const { fd = -1 } = socket;
  fstatSync(fd);
  socket.destroy();
  assert.throws(() => fstatSync(fd), { code: "EBADF" });
  assert.deepEqual([socket.fd, socket.local, socket.remote], [undefined, undefined, undefined]);
  assert.equal(errnoOf(originalDestination(socket)), "ENOTCONN");
  assert.deepEqual(heard.told, [], "not from within the call");
  await until("it is told", 5_000, () => heard.told.length > 0);
  socket.reset();
  socket.destroy();
  socket.end();
  socket.resume();
  socket.pause();
  assert.equal(socket.write(Buffer.from("x")), false);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(heard.told, ["closed"]);
});

test("what several read lies in one buffer; nothing is read before somebody asks, nor while it is paused", async (t) => {
  const [one, two] = [await pair(t), await pair(t)];
  for (const { other } of [one, two]) other.write("octets");
  one.socket.resume();
  two.socket.resume();
  two.socket.pause();
  await until("one has read", 5_000, () => one.heard.octets === 6);
  assert.equal(two.heard.octets, 0);
  two.socket.resume();
  await until("the other has read", 5_000, () => two.heard.octets === 6);
  assert.equal(new Set([...one.heard.buffers, ...two.heard.buffers]).size, 1);
});

test("who pauses while it is told of octets is told of no more", async (t) => {
  const { socket, heard, other } = await pair(t);
  other.end(Buffer.alloc(1 << 20));
  heard.onRead = () => socket.pause();
  let reads = 0;
  while (!heard.told.includes("ended")) {
    const before = heard.octets;
    socket.resume();
    await until("something comes", 5_000, () => heard.octets > before || heard.told.includes("ended"));
    if (heard.octets > before) reads += 1;
  }
  assert.equal(heard.octets, 1 << 20);
  assert.ok(reads >= (1 << 20) / (64 << 10), `${reads} reads`);
});

test("a write of 64 KiB is enough for now, whether the kernel has taken it or not, and then it is told once", async (t) => {
  const { socket, heard, other } = await pair(t);
  assert.equal(socket.write(Buffer.alloc((64 << 10) - 1)), true);
  assert.equal(socket.writableLength, 0, "the kernel has taken it");
  assert.equal(socket.write(Buffer.alloc(64 << 10)), false);
  assert.deepEqual([socket.writableLength, heard.told], [0, []]);
  await until("it may go on", 5_000, () => heard.told.length > 0);
  while (socket.writableLength === 0) socket.write(Buffer.alloc(1 << 20));
  const kept = Buffer.from("the last of it");
  for (const octet of kept) socket.write(Buffer.of(octet));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(heard.told, ["drained"], "not while something waits");
  socket.end();
  let last = Buffer.alloc(0);
  other.on("data", (chunk: Buffer) => (last = Buffer.concat([last, chunk]).subarray(-kept.length)));
  await once(other, "end");
  assert.equal(String(last), String(kept), "in order, and before the end");
  assert.deepEqual(heard.told, ["drained"], "who has ended wants to know no more");
});

test("it is closed when both have ended, whoever does first", async (t) => {
  const [one, two] = [await pair(t), await pair(t)];
  one.socket.resume();
  one.socket.end();
  one.socket.end();
  await once(one.other.resume(), "end");
  assert.equal(one.socket.destroyed, false);
  one.other.end("and mine");
  await until("one is closed", 5_000, () => one.heard.told.includes("closed"));
  assert.deepEqual([one.heard.told, one.heard.octets], [["ended", "closed"], 8]);
  two.socket.resume();
  two.other.end();
  await until("the other has ended", 5_000, () => two.heard.told.includes("ended"));
  assert.equal(two.socket.destroyed, false);
  two.socket.write(Buffer.from("and mine"));
  two.socket.end();
  const [chunk] = (await once(two.other, "data")) as [Buffer];
  assert.equal(String(chunk), "and mine");
  await once(two.other, "end");
  await until("it is closed", 5_000, () => two.heard.told.includes("closed"));
});

test("a reset while much waits to be written is told once, and then it is closed", async (t) => {
  const { socket, heard, other } = await pair(t);
  socket.resume();
  while (socket.writableLength === 0) socket.write(Buffer.alloc(1 << 20));
  socket.write(Buffer.from("behind it"));
  socket.end();
  other.resetAndDestroy();
  await until("it is closed", 5_000, () => heard.told.includes("closed"));
  assert.match(heard.told.join(" "), /^(ECONNRESET|EPIPE) closed$/);
});

test("a write to who is gone fails, later, with its errno", async (t) => {
  const { socket, heard, other } = await pair(t);
  other.resetAndDestroy();
  await until("the reset is here", 5_000, () => {
    socket.write(Buffer.from("x"));
    return socket.destroyed;
  });
  await until("it is closed", 5_000, () => heard.told.includes("closed"));
  assert.match(heard.told.join(" "), /^(ECONNRESET|EPIPE) closed$/);
});

test("a write after the end is an error of that connection, and of no other", async (t) => {
  const { socket, heard } = await pair(t);
  socket.end();
  assert.equal(socket.write(Buffer.from("one more thing")), false);
  await until("it is closed", 5_000, () => heard.told.includes("closed"));
  assert.deepEqual(heard.told, ["EPIPE", "closed"]);
});

test("an end to who is gone already is no error of its own", async (t) => {
  const { socket, heard, other } = await pair(t);
  other.resetAndDestroy();
  await new Promise((resolve) => setImmediate(resolve));
  socket.end();
  socket.resume();
  await until("it is closed", 5_000, () => heard.told.includes("closed"));
  assert.match(heard.told.join(" "), /^(ECONNRESET|EPIPE) closed$/);
});

test("who cannot be connected to is told with its errno, and no descriptor stays", async (t) => {
  const server = await listen(t);
  const port = portOf(server);
  const socket = await connecting(port);
  assert.ok(socket instanceof BareSocket);
  socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  assert.equal(errnoOf(await connecting(port)), "ECONNREFUSED");
  assert.equal(errnoOf(await connecting(port, "255.255.255.255")), "ENETUNREACH");
  assert.equal(errnoOf(await connecting(port, "nonsense")), "EINVAL");
});

test("who is destroyed while it connects hears nothing of it", async (t) => {
  const server = await listen(t);
  let calls = 0;
  const socket = connectBare({ remote: { address: "127.0.0.1", port: portOf(server) } }, () => (calls += 1));
  assert.ok(socket instanceof BareSocket);
  const { fd = -1 } = socket;
  socket.destroy();
  assert.throws(() => fstatSync(fd), { code: "EBADF" });
  await connecting(portOf(server)).then((next) => next instanceof BareSocket && next.destroy());
  assert.equal(calls, 0);
});

test("a server that has no handle to take from goes on as it was", () => {
  assert.equal(
    acceptHandles(createServer(), () => assert.fail()),
    false,
  );
});
