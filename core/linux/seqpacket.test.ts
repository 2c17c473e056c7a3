import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { errnoOf, LinuxError } from "./errno.ts";
import { createNetworkNamespace, namespaceIdentity } from "./namespace.ts";
import { connectSeqpacket, listenSeqpacket, type SeqpacketConnection, type SeqpacketListener } from "./seqpacket.ts";

const skip = enterNamespaces() ?? false;
const folder = mkdtempSync(join(tmpdir(), "seqpacket-"));
after(() => rmSync(folder, { recursive: true, force: true }));

interface Packet {
  readonly bytes: Uint8Array;
  readonly descriptors: number[];
}

test("packets keep their boundaries and their order", async () => {
  const { client, packets, close } = await pair();
  const sent = [1, 2, 1000, 3, 60_000].map((length) => Buffer.alloc(length, length));
  for (const bytes of sent) assert.equal(client.send(bytes), undefined);
  await until("five packets", 5_000, () => packets.length === 5);
  assert.deepEqual(
    packets.map(({ bytes }) => Buffer.from(bytes)),
    sent,
  );
  close();
});

test("a namespace travels as a descriptor and is the same at the other end", { skip }, async () => {
  const { client, packets, close } = await pair();
  const netns = createNetworkNamespace();
  const identity = namespaceIdentity(netns);
  assert.equal(client.send(Buffer.from("add"), [netns]), undefined);
  closeSync(netns);
  const { descriptors } = await until("the packet", 5_000, () => packets[0]);
  assert.equal(descriptors.length, 1);
  assert.deepEqual(namespaceIdentity(descriptors[0]!), identity);
  const inChild = execFileSync("ls", ["-l", "/proc/self/fd"], { encoding: "utf8" });
  assert.doesNotMatch(inChild, /net:\[/, "close-on-exec");
  descriptors.forEach((fd) => closeSync(fd));
  close();
});

test("a packet longer than 64 KiB closes the connection with an error, and so do too many descriptors", async () => {
  const before = readdirSync("/proc/self/fd").length;
  for (const [bytes, count, what] of [
    [70_000, 0, "bytes"],
    [10, 17, "descriptors"],
  ] as const) {
    const { client, packets, ended, close } = await pair();
    const file = someDescriptor();
    assert.equal(
      client.send(
        Buffer.alloc(bytes),
        Array.from({ length: count }, () => file),
      ),
      undefined,
    );
    closeSync(file);
    const error = await until("the end", 5_000, () => ended[0]);
    assert.deepEqual(error.type, { code: "linux.truncated-packet", what });
    assert.deepEqual(packets, []);
    close();
  }
  await until("no descriptor left", 5_000, () => readdirSync("/proc/self/fd").length === before);
});

test("each end knows who the other is", async () => {
  const { client, server, close } = await pair();
  const self = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  assert.deepEqual(client.peer(), self);
  assert.deepEqual(server.peer(), self);
  close();
});

test("a close is seen once at the other end, and not at one's own", async () => {
  const { client, ended, clientEnded, close } = await pair();
  client.close();
  client.close();
  await until("the end", 5_000, () => ended.length === 1);
  assert.deepEqual(ended, [undefined]);
  assert.equal(errnoOf(client.send(Buffer.from("x"))), "EPIPE");
  assert.deepEqual(clientEnded, []);
  close();
});

test("what was sent before the close still arrives", async () => {
  const { client, packets, ended, close } = await pair();
  for (let i = 0; i < 100; i++) client.send(Uint8Array.of(i));
  client.close();
  await until("the end", 5_000, () => ended.length === 1);
  assert.equal(packets.length, 100);
  close();
});

test("a reader that does not read is told by EAGAIN, not waited for", async () => {
  const { client, server, close } = await pair();
  let failure: LinuxError | undefined;
  for (let i = 0; i < 10_000 && failure === undefined; i++) failure = client.send(Buffer.alloc(4096));
  assert.equal(failure?.errno, "EAGAIN");
  server.close();
  // It went with packets unread: that is told once, then as ever.
  assert.equal(client.send(Buffer.from("x"))?.errno, "ECONNRESET");
  assert.equal(client.send(Buffer.from("x"))?.errno, "EPIPE");
  close();
});

test("only its owner may connect, unless told otherwise", async () => {
  const path = freshPath();
  const listener = mustListen(path);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  listener.close();
  assert.equal(existsSync(path), false);
  const open = listenSeqpacket(path, 0o666) as SeqpacketListener;
  assert.equal(statSync(path).mode & 0o777, 0o666);
  open.close();
});

test("a dead listener's file is replaced, a living one's and anybody else's are not", async () => {
  const path = freshPath();
  const script = `
    const { listenSeqpacket } = await import(${JSON.stringify(import.meta.resolve("./seqpacket.ts"))});
    listenSeqpacket(${JSON.stringify(path)});
    console.log("listening");`;
  const other = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(other.stdout, "data");
  assert.equal(errnoOf(listenSeqpacket(path)), "EADDRINUSE");
  other.kill("SIGKILL");
  await once(other, "exit");
  assert.equal(existsSync(path), true);
  mustListen(path).close();
  writeFileSync(path, "a file");
  assert.equal(errnoOf(listenSeqpacket(path)), "EADDRINUSE");
  assert.equal(existsSync(path), true);
});

test("nobody there, nowhere to be, and a stream socket are told apart", async () => {
  assert.equal(errnoOf(connectSeqpacket(join(folder, "nothing"))), "ENOENT");
  assert.equal(errnoOf(connectSeqpacket(`/${"long".repeat(40)}`)), "ENAMETOOLONG");
  assert.equal(errnoOf(listenSeqpacket(join(folder, "no", "folder"))), "ENOENT");
  const path = freshPath();
  const stream = createServer().listen(path);
  await once(stream, "listening");
  assert.equal(errnoOf(connectSeqpacket(path)), "EPROTOTYPE");
  stream.close();
});

test("a connection that nobody asked for is closed", async () => {
  const listener = mustListen(freshPath());
  const client = connectSeqpacket(listener.path) as SeqpacketConnection;
  await new Promise((resolve) => client.onClose(resolve));
  listener.close();
});

test("a listener without a free descriptor turns away who comes, and goes on when it has one", async () => {
  const path = freshPath();
  const script = `
    import { openSync, closeSync } from "node:fs";
    import { listenSeqpacket } from ${JSON.stringify(import.meta.resolve("./seqpacket.ts"))};
    const listener = listenSeqpacket(${JSON.stringify(path)});
    listener.onConnection((connection) => connection.onPacket((bytes) => connection.send(bytes)));
    const taken = [];
    process.on("SIGUSR2", () => taken.splice(0).forEach((fd) => closeSync(fd)) ?? console.log("free"));
    console.log("loaded");
    try { for (;;) taken.push(openSync("/dev/null")); } catch (error) { if (error.code !== "EMFILE") throw error; }
    console.log("full");`;
  const shell = 'ulimit -n 60; exec "$@"';
  const node = [process.execPath, "--input-type=module", "-e", script];
  const other = spawn("sh", ["-c", shell, "sh", ...node], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  other.stdout.on("data", (text: Buffer) => (output += text.toString()));
  await until("a full table", 10_000, () => output.includes("full"));
  const refused = connectSeqpacket(path) as SeqpacketConnection;
  await new Promise((resolve) => refused.onClose(resolve));
  other.kill("SIGUSR2");
  await until("free descriptors", 5_000, () => output.includes("free"));
  const client = connectSeqpacket(path) as SeqpacketConnection;
  client.send(Buffer.from("x"));
  await new Promise((resolve) => client.onPacket(resolve));
  client.close();
  other.kill("SIGKILL");
  await once(other, "exit");
});

test("a process ends by itself once it has closed its sockets", () => {
  const script = `
    const { listenSeqpacket, connectSeqpacket } = await import(${JSON.stringify(import.meta.resolve("./seqpacket.ts"))});
    const listener = listenSeqpacket(${JSON.stringify(freshPath())});
    listener.onConnection((server) => {
      server.onPacket((bytes) => server.send(bytes));
      server.onClose(() => listener.close());
    });
    const client = connectSeqpacket(listener.path);
    client.onPacket((bytes) => { console.log(Buffer.from(bytes).toString()); client.close(); });
    client.send(Buffer.from("there and back"));`;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    timeout: 30_000,
  });
  assert.equal(output, "there and back\n");
});

interface Pair {
  readonly client: SeqpacketConnection;
  readonly server: SeqpacketConnection;
  /** What the server got. */
  readonly packets: Packet[];
  /** How the server's side ended. */
  readonly ended: (LinuxError | undefined)[];
  readonly clientEnded: (LinuxError | undefined)[];
  readonly close: () => void;
}

async function pair(): Promise<Pair> {
  const listener = mustListen(freshPath());
  const packets: Packet[] = [];
  const ended: (LinuxError | undefined)[] = [];
  const clientEnded: (LinuxError | undefined)[] = [];
  const accepted = new Promise<SeqpacketConnection>((resolve) =>
    listener.onConnection((connection) => {
      connection.onPacket((bytes, descriptors) => packets.push({ bytes, descriptors }));
      connection.onClose((error) => ended.push(error));
      resolve(connection);
    }),
  );
  const client = connectSeqpacket(listener.path);
  if (client instanceof LinuxError) throw client;
  client.onClose((error) => clientEnded.push(error));
  const server = await accepted;
  const close = (): void => [client, server, listener].forEach((each) => each.close());
  return { client, server, packets, ended, clientEnded, close };
}

function mustListen(path: string): SeqpacketListener {
  const listener = listenSeqpacket(path);
  if (listener instanceof LinuxError) throw listener;
  return listener;
}

let paths = 0;
function freshPath(): string {
  return join(folder, `${++paths}.sock`);
}

function someDescriptor(): number {
  return openSync("/proc/self/status", "r");
}
