import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { after, before, test } from "node:test";
import { Worker } from "node:worker_threads";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";
import { errnoOf, LinuxError } from "./errno.ts";
import { SOL_SOCKET, SOL_TCP } from "./libc.ts";
import * as raw from "./libc.ts";
import { createNetworkNamespace } from "./namespace.ts";
import { addAddress } from "./netlink/addresses.ts";
import { setUp } from "./netlink/links.ts";
import { originalDestination } from "./original-destination.ts";
import { tcpSockets, writeSysctl } from "./procfs.ts";
import {
  closeDescriptor,
  connectTcp,
  descriptorOf,
  duplicateDescriptor,
  listenTcp,
  type ListenOptions,
  type Listener,
} from "./sockets.ts";

const skip = enterNamespaces() ?? false;
let netns = -1;
const servers: Server[] = [];

before(async () => {
  if (skip !== false) return;
  netns = createNetworkNamespace();
  await setUp("lo", { netns });
});
after(() => {
  servers.forEach((server) => server.close());
  if (netns >= 0) closeSync(netns);
});

test("F-016 one listener on :: serves both families, and both ends see plain addresses", { skip }, async () => {
  const accepted = serve({ address: "::", port: 8080, mark: 1337, transparent: true });
  for (const address of ["127.0.0.1", "::1"]) {
    const client = connectTcp({ netns, remote: { address, port: 8080 } });
    await once(client, "connect");
    const socket = await accepted();
    assert.deepEqual(originalDestination(socket), { address, port: 8080 });
    assert.equal(client.remoteAddress, address);
    client.destroy();
  }
});

test("F-019 a port that is shared can be joined by whoever shares it too, and by nobody else", { skip }, () => {
  const first = listenTcp({ address: "127.0.0.1", port: 7_401, sharePort: true });
  assert.ok("fd" in first);
  const second = listenTcp({ address: "127.0.0.1", port: 7_401, sharePort: true });
  assert.ok("fd" in second);
  const third = listenTcp({ address: "127.0.0.1", port: 7_401 });
  assert.ok(third instanceof LinuxError && third.errno === "EADDRINUSE");
  for (const { fd } of [first, second]) closeDescriptor(fd);
});

test("a port is taken once: nobody else can join it", { skip }, () => {
  serve({ address: "::", port: 8081 });
  for (const address of ["::", "0.0.0.0", "127.0.0.1"]) {
    const second = listenTcp({ netns, address, port: 8081 });
    assert.ok(second instanceof LinuxError);
    assert.equal(second.errno, "EADDRINUSE", address);
  }
});

test("an address that isn't there can be listened on by freebind only", { skip }, () => {
  const refused = listenTcp({ netns, address: "10.77.0.1", port: 1234 });
  assert.equal(errnoOf(refused), "EADDRNOTAVAIL");
  const listener = listenTcp({ netns, address: "10.77.0.1", port: 1234, freebind: true });
  assert.ok(!(listener instanceof LinuxError));
  closeDescriptor(listener.fd);
  assert.ok(listenTcp({ netns, address: "not an address", port: 1 }) instanceof LinuxError);
});

test("F-017 without IPv6, :: listens on IPv4", { skip }, async () => {
  const only4 = createNetworkNamespace();
  await setUp("lo", { netns: only4 });
  for (const name of ["all", "lo"]) writeSysctl(`net/ipv6/conf/${name}/disable_ipv6`, 1, only4);
  const listener = listenTcp({ netns: only4, address: "::", port: 80 });
  assert.ok(!(listener instanceof LinuxError));
  const server = createServer((socket) => socket.end()).listen({ fd: listener.fd });
  const client = connectTcp({ netns: only4, remote: { address: "127.0.0.1", port: 80 } });
  await once(client, "connect");
  client.destroy();
  server.close();
  closeSync(only4);
});

test("F-018 F-022 F-024 mark, no delay and keep-alive are set on the connection", { skip }, async () => {
  serve({ address: "::", port: 8082, mark: 1337 });
  const keepAlive = { idleSeconds: 180, intervalSeconds: 170, probes: 9 };
  const client = connectTcp({ netns, remote: { address: "::1", port: 8082 }, mark: 1337, keepAlive });
  await once(client, "connect");
  const fd = descriptorOf(client)!;
  const read = (level: number, name: number): number => {
    const value = new Int32Array(1);
    assert.equal(raw.libc.getsockopt(fd, level, name, value, Int32Array.of(4)), 0);
    return value[0]!;
  };
  assert.equal(read(SOL_SOCKET, 36), 1337, "SO_MARK");
  assert.equal(read(SOL_SOCKET, 9), 1, "SO_KEEPALIVE");
  assert.deepEqual(
    [1, 4, 5, 6].map((name) => read(SOL_TCP, name)),
    [1, 180, 170, 9],
    "TCP_NODELAY, KEEPIDLE, KEEPINTVL, KEEPCNT",
  );
  client.destroy();
});

test("F-022 F-023 what is accepted keeps alive, and times out, as its listener says", { skip }, async () => {
  const keepAlive = { idleSeconds: 11, intervalSeconds: 12, probes: 3, userTimeoutMs: 4_000 };
  const accepted = serve({ address: "127.0.0.1", port: 7777, keepAlive });
  const socket = connectTcp({ netns, remote: { address: "127.0.0.1", port: 7777 }, keepAlive });
  const server = await accepted();
  const value = new Int32Array(1);
  for (const one of [socket, server]) {
    const fd = descriptorOf(one)!;
    const options = [4, 5, 6, 18].map((name) => {
      assert.equal(raw.libc.getsockopt(fd, SOL_TCP, name, value, Int32Array.of(4)), 0);
      return value[0];
    });
    assert.deepEqual(options, [11, 12, 3, 4_000], "KEEPIDLE, KEEPINTVL, KEEPCNT, USER_TIMEOUT");
    one.destroy();
  }
});

test("sockets are non-blocking and close-on-exec", { skip }, async () => {
  const accepted = serve({ address: "::", port: 8083 });
  const client = connectTcp({ netns, remote: { address: "::1", port: 8083 } });
  await once(client, "connect");
  for (const socket of [client, await accepted(), servers.at(-1)!]) {
    const fd = descriptorOf(socket)!;
    const flags = Number.parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))![1]!, 8);
    assert.ok((flags & 0o4000) !== 0, "O_NONBLOCK");
    assert.ok((flags & 0o2000000) !== 0, "O_CLOEXEC");
  }
  const inChild = execFileSync("ls", ["-l", "/proc/self/fd"], { encoding: "utf8" });
  assert.doesNotMatch(inChild, /net:\[/, "namespaces stay here");
  client.destroy();
});

test("what fails, fails as an 'error', at once or later", { skip }, async () => {
  const refused = connectTcp({ netns, remote: { address: "127.0.0.1", port: 9 } });
  assert.equal(await failure(refused), "ECONNREFUSED");
  const unreachable = connectTcp({ netns, remote: { address: "10.9.9.9", port: 9 } });
  assert.equal(await failure(unreachable), "ENETUNREACH");
  const notOurs = connectTcp({ netns, remote: { address: "127.0.0.1", port: 9 }, local: { address: "10.9.9.9" } });
  assert.equal(await failure(notOurs), "EADDRNOTAVAIL");
  const reserved = connectTcp({ netns, remote: { address: "::1", port: 9 }, local: { address: "fd00::9" } });
  assert.equal(await failure(reserved), "EADDRNOTAVAIL");
  const nonsense = connectTcp({ netns, remote: { address: "::1", port: 9 }, local: { address: "x" } });
  assert.equal(((await once(nonsense, "error")) as [LinuxError])[0].type.code, "linux.not-an-address");
});

test("a failed connection leaves no descriptor behind", { skip }, async () => {
  const before = readdirSync("/proc/self/fd").length;
  const closed = Array.from({ length: 200 }, (_, i) => {
    const local = i % 2 === 0 ? { local: { address: "10.9.9.9" } } : {};
    const socket = connectTcp({ netns, remote: { address: "127.0.0.1", port: 9 }, ...local });
    socket.on("error", () => {});
    return new Promise((resolve) => socket.on("close", resolve));
  });
  await Promise.all(closed);
  assert.equal(readdirSync("/proc/self/fd").length, before);
});

test("half-close reaches the other end, and its answer still comes", { skip }, async () => {
  const accepted = serve({ address: "::", port: 8084 });
  const client = connectTcp({ netns, remote: { address: "::1", port: 8084 } });
  client.end("question");
  const socket = await accepted();
  const question = (await socket.toArray()).join("");
  socket.end(`answer to ${question}`);
  assert.equal((await client.toArray()).join(""), "answer to question");
});

test("many connections share one local address and one port range", { skip }, async () => {
  serve({ address: "::", port: 8085 });
  serve({ address: "::", port: 8086 });
  // 40 ports for 60 connections to two destinations: possible only when the port is chosen at connect time.
  writeSysctl("net/ipv4/ip_local_port_range", "40000 40039", netns);
  const clients = Array.from({ length: 60 }, (_, i) =>
    connectTcp({ netns, remote: { address: "127.0.0.1", port: 8085 + (i % 2) }, local: { address: "127.0.0.9" } }),
  );
  await Promise.all(clients.map((client) => once(client, "connect")));
  clients.forEach((client) => client.destroy());
  writeSysctl("net/ipv4/ip_local_port_range", "32768 60999", netns);
});

test("a port of one's choice is shared by connections to different destinations only", { skip }, async () => {
  serve({ address: "::", port: 8095 });
  serve({ address: "::", port: 8096 });
  const from = (port: number, remotePort: number): ReturnType<typeof connectTcp> =>
    connectTcp({
      netns,
      remote: { address: "127.0.0.1", port: remotePort },
      local: { address: "127.0.0.8", port },
    });
  const [first, second] = [from(61_000, 8095), from(61_000, 8096)];
  await Promise.all([first, second].map((client) => once(client, "connect")));
  const [taken] = (await once(from(61_000, 8095), "error")) as [NodeJS.ErrnoException];
  assert.equal(taken.code, "EADDRNOTAVAIL");
  const [listening] = (await once(from(8096, 8095), "error")) as [Error];
  assert.match(listening.message, /EADDRINUSE/);
  first.destroy();
  second.destroy();
});

test("two workers share one listener by duplicates of its descriptor", { skip }, async () => {
  const listener = listenTcp({ netns, address: "::", port: 8087 }) as Listener;
  const source = `
    import { createServer } from "node:net";
    import { workerData, parentPort } from "node:worker_threads";
    const server = createServer((socket) => socket.end(String(workerData.number)));
    server.listen({ fd: workerData.fd }, () => parentPort.postMessage("listening"));`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const workers = [1, 2].map((number) => {
    const fd = duplicateDescriptor(listener.fd) as number;
    return new Worker(url, { workerData: { number, fd } });
  });
  await Promise.all(workers.map((worker) => once(worker, "message")));
  closeDescriptor(listener.fd);
  const seen = new Map<string, number>();
  for (let round = 0; round < 20; round++) {
    const clients = Array.from({ length: 10 }, () =>
      connectTcp({ netns, remote: { address: "127.0.0.1", port: 8087 } }),
    );
    const answers = await Promise.all(clients.map(async (client) => (await client.toArray()).join("")));
    for (const answer of answers) seen.set(answer, (seen.get(answer) ?? 0) + 1);
  }
  assert.deepEqual([...seen.keys()].sort(), ["1", "2"], "both serve");
  assert.equal((seen.get("1") ?? 0) + (seen.get("2") ?? 0), 200, "nothing is lost");
  await workers[0]!.terminate();
  const late = connectTcp({ netns, remote: { address: "127.0.0.1", port: 8087 } });
  assert.equal((await late.toArray()).join(""), "2", "the other goes on");
  await workers[1]!.terminate();
});

test("the sockets of a namespace can be listed with their states", { skip }, async () => {
  const accepted = serve({ address: "::", port: 8088 });
  const client = connectTcp({ netns, remote: { address: "127.0.0.1", port: 8088 } });
  await once(client, "connect");
  const server = await accepted();
  const states = tcpSockets(netns)
    .filter(({ local, remote }) => local.port === 8088 || remote.port === 8088)
    .filter(({ state }) => state !== "time-wait");
  assert.deepEqual(states.map(({ state }) => state).sort(), ["established", "established", "listen"]);
  const ours = states.find(({ local }) => local.port === client.localPort)!;
  assert.deepEqual(ours.remote, { address: "127.0.0.1", port: 8088 });
  client.destroy();
  server.destroy();
  await until("the connection to leave", 5_000, () =>
    tcpSockets(netns).every(({ state, remote }) => remote.port !== 8088 || state === "time-wait"),
  );
});

test("a transparent listener takes connections to addresses that aren't ours", { skip }, async () => {
  const accepted = serve({ address: "::", port: 8089, transparent: true });
  await addAddress({ interface: "lo", address: "10.88.0.0", prefix: 24, netns });
  const client = connectTcp({ netns, remote: { address: "10.88.0.7", port: 8089 } });
  await once(client, "connect");
  assert.deepEqual(originalDestination(await accepted()), { address: "10.88.0.7", port: 8089 });
  client.destroy();
});

test("a socket that is closed has no destination", { skip }, () => {
  const socket = connectTcp({ netns, remote: { address: "127.0.0.1", port: 9 } });
  socket.destroy();
  assert.equal(errnoOf(originalDestination(socket)), "ENOTCONN");
});

/** Listens; the returned function waits for the next connection accepted. */
function serve(options: ListenOptions): () => Promise<Socket> {
  const listener = listenTcp({ netns, ...options });
  if (listener instanceof LinuxError) throw listener;
  assert.equal(listener.transparent, options.transparent === true);
  const queue: Socket[] = [];
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    socket.on("error", () => {});
    queue.push(socket);
  });
  servers.push(server.listen({ fd: listener.fd }));
  return () => until("a connection", 5_000, () => queue.shift());
}

async function failure(socket: Socket): Promise<string | undefined> {
  const [error] = (await once(socket, "error")) as [unknown];
  return errnoOf(error);
}
