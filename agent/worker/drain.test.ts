import assert from "node:assert/strict";
import type { ClientHttp2Stream } from "node:http2";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { alice } from "../../test/support/hbone-pair.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { pod } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { echo } from "../../test/support/sockets.ts";
import { TunnelClient } from "../../test/support/tunnel-client.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
let mesh: LoopbackMesh;
let client: LoopbackPod;
let server: LoopbackPod;
let app: { port: number; close: () => void };

beforeEach(async () => {
  if (skip !== false) return;
  await ownAddresses();
  app = await application("10.99.0.3", (socket) => socket.pipe(socket));
  mesh = new LoopbackMesh();
  mesh.apply({ workloads: [pod("default/alice", "10.99.0.2"), pod("default/bob", "10.99.0.3")] });
  client = await mesh.serve("default/alice", "10.99.0.2");
  server = await mesh.serve("default/bob", "10.99.0.3");
});
afterEach(() => {
  if (skip !== false) return;
  app.close();
  mesh.close();
});

const isDrained = (): boolean => mesh.messages.some(({ kind }) => kind === "drained");

test(
  "a draining worker serves what it has accepted, to its end, and is done with the last of it",
  { skip },
  async () => {
    const held = client.connectOut({ address: "10.99.0.3", port: app.port });
    assert.equal(await echo(held, "before"), "before");
    // Accepted in the very turn in which the end comes: its tunnel is yet to be found.
    const last = client.connectOut({ address: "10.99.0.3", port: app.port });
    await new Promise((resolve) => last.once("connect", resolve));
    mesh.send({ kind: "drain", deadlineMs: 10_000 });
    assert.equal(await echo(last, "last"), "last");
    assert.equal(await echo(held, "after"), "after");
    const late = client.connectOut({ address: "10.99.0.3", port: app.port });
    assert.equal(
      await new Promise((resolve) => late.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code))),
      "ECONNREFUSED",
    );
    assert.equal(isDrained(), false);
    for (const socket of [held, last]) socket.end();
    await until("the worker is done", 5_000, isDrained);
    const reasons = mesh.lines
      .filter((line) => line["message"] === "connection complete")
      .map((line) => line["reason"]);
    assert.deepEqual(new Set(reasons), new Set(["OK"]));
  },
);

test("what is open at the deadline is reset, and the log says that it was the agent's end", { skip }, async () => {
  const held = client.connectOut({ address: "10.99.0.3", port: app.port });
  assert.equal(await echo(held, "before"), "before");
  const reset = new Promise((resolve) => held.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code)));
  mesh.send({ kind: "drain", deadlineMs: 50 });
  assert.equal(await reset, "ECONNRESET");
  await until("the worker is done", 5_000, isDrained);
  await mesh.line("outbound", (line) => line["reason"] === "DRAINED");
});

test(
  "a peer's tunnel hears GOAWAY twice: first that there is an end, then which stream was the last",
  { skip },
  async () => {
    const tunnel = dial(server);
    const goaways: number[] = [];
    tunnel.session.on("goaway", (_code, lastStream: number) => goaways.push(lastStream));
    const stream = await opened(tunnel);
    mesh.send({ kind: "drain", deadlineMs: 10_000 });
    await until("both GOAWAYs", 5_000, () => goaways.length === 2);
    assert.deepEqual(goaways, [0x7fff_ffff, 1]);
    stream.write("still here");
    const [chunk] = await new Promise<Buffer[]>((resolve) => stream.once("data", (...args: Buffer[]) => resolve(args)));
    assert.equal(String(chunk), "still here");
    stream.end();
    stream.resume();
    await until("the worker is done", 5_000, isDrained);
  },
);

test(
  "a handshake that is under way when the end comes is finished, and its first stream is served",
  { skip },
  async () => {
    const socket = connect({ host: server.address, port: server.hbonePort, localAddress: "10.99.0.2" });
    await new Promise((resolve) => socket.once("connect", resolve));
    await until("it has been accepted", 5_000, () => socket.bytesWritten === 0);
    await new Promise((resolve) => setImmediate(resolve));
    mesh.send({ kind: "drain", deadlineMs: 10_000 });
    await new Promise((resolve) => setImmediate(resolve));
    const stream = await opened(dial(server, socket));
    stream.end("x");
    stream.resume();
    await until("the worker is done", 5_000, isDrained);
  },
);

test("the earlier connections are waited for and not the later ones", { skip }, async () => {
  const early = client.connectOut({ address: "10.99.0.3", port: app.port });
  assert.equal(await echo(early, "early"), "early");
  mesh.send({ kind: "last-orders" });
  const late = client.connectOut({ address: "10.99.0.3", port: app.port });
  assert.equal(await echo(late, "late"), "late");
  const hasEnded = (): boolean => mesh.messages.some(({ kind }) => kind === "earlier-ended");
  assert.equal(hasEnded(), false);
  early.end();
  await until("the worker says so", 5_000, hasEnded);
  assert.equal(await echo(late, "still"), "still");
  late.destroy();
});

function dial(to: LoopbackPod, over?: Socket): TunnelClient {
  return new TunnelClient({ address: to.address, port: to.hbonePort }, alice, "10.99.0.2", over);
}

async function opened(tunnel: TunnelClient): Promise<ClientHttp2Stream> {
  const { status, stream } = await tunnel.connect(`10.99.0.3:${app.port}`);
  assert.equal(status, 200);
  return stream;
}

test("sockets taken over are accepted from only when the pod's certificate is there", { skip }, async () => {
  mesh.apply({ workloads: [pod("default/carol", "10.99.0.4")] });
  const carol = await mesh.serve("default/carol", "10.99.0.4", "none", { inherited: true });
  const isServing = (): boolean =>
    mesh.messages.some((message) => message.kind === "pod-serving" && message.uid === carol.uid);
  await until("the certificate is asked for", 5_000, () =>
    mesh.messages.some(({ kind }) => kind === "certificate-wanted"),
  );
  const waiting = carol.connectOut({ address: "10.99.0.3", port: app.port });
  await new Promise((resolve) => waiting.once("connect", resolve));
  assert.equal(isServing(), false);
  mesh.certifyPod("default/carol");
  await until("it is served", 5_000, isServing);
  assert.equal(await echo(waiting, "hello"), "hello");
});
