import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, before, test } from "node:test";
import { alice } from "../../test/support/hbone-pair.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, pod, policy, port, ruleOf, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { echo, endOf } from "../../test/support/sockets.ts";
import { TunnelClient } from "../../test/support/tunnel-client.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
let mesh: LoopbackMesh;
let client: LoopbackPod;
let server: LoopbackPod;
let app: { port: number; close: () => void };
/** `ip` of each peer the application saw. */
const peers: string[] = [];

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  app = await application("10.99.0.3", (socket) => {
    peers.push(socket.remoteAddress ?? "");
    socket.pipe(socket);
  });
  mesh = new LoopbackMesh();
  const web = service("default/web", "10.96.0.1", [port(80, app.port)]);
  const services = backs([web, port(80, app.port)]);
  mesh.apply({
    services: [web],
    workloads: [
      pod("default/alice", "10.99.0.2"),
      pod("default/bob", "10.99.0.3", { services }),
      pod("default/plain", "10.99.0.4", { tunnel: "tcp" }),
    ],
  });
  client = await mesh.serve("default/alice", "10.99.0.2");
  server = await mesh.serve("default/bob", "10.99.0.3");
});
after(() => {
  app?.close();
  mesh?.close();
});

test(
  "F-021 F-060 a connection to a service goes through a tunnel, and both ends log it with both identities and one trace",
  { skip },
  async () => {
    const socket = client.connectOut({ address: "10.96.0.1", port: 80 });
    assert.equal(await echo(socket, "hello"), "hello");
    const from = `10.99.0.2:${String(socket.localPort)}`;
    socket.end();
    await ended(socket);
    const outbound = await mesh.line("outbound", (line) => line["src.addr"] === from);
    const inbound = await mesh.line("inbound", (line) => line["trace"] === outbound["trace"]);
    const [source, destination] = [
      "spiffe://cluster.local/ns/default/sa/alice",
      "spiffe://cluster.local/ns/default/sa/bob",
    ];
    for (const line of [outbound, inbound]) {
      assert.equal(line["reason"], "OK");
      assert.equal(line["protocol"], "hbone");
      assert.equal(line["src.identity"], source);
      assert.equal(line["dst.identity"], destination);
      assert.equal(line["dst.workload"], "bob");
      assert.deepEqual([line["bytes_sent"], line["bytes_recv"]], [5, 5]);
    }
    assert.equal(outbound["dst.addr"], "10.99.0.3:15008");
    assert.equal(outbound["dst.hbone_addr"], `10.99.0.3:${app.port}`);
    assert.equal(outbound["dst.service"], "web.default.svc.cluster.local");
    assert.match(String(inbound["app.local"]), /^10\.99\.0\.2:\d+$/);
    assert.equal(peers.at(-1), "10.99.0.2", "the application sees the client's own address");
  },
);

test("a thousand connections one after another use one handshake", { skip }, async () => {
  const before = mesh.tunnelsOpened;
  for (let i = 0; i < 1_000; i++) {
    const socket = client.connectOut({ address: "10.99.0.3", port: app.port });
    if (i % 100 === 0) assert.equal(await echo(socket, "x"), "x");
    socket.end();
    await ended(socket);
  }
  // The route by address may use the tunnel that the route by service made: they accept the same identity at one place.
  assert.ok(mesh.tunnelsOpened - before <= 1, `${mesh.tunnelsOpened - before} tunnels`);
});

test(
  "a workload that takes no tunnel, and an address nobody knows, are connected to as they are",
  { skip },
  async () => {
    for (const [address, workload] of [
      ["10.99.0.4", "plain"],
      ["10.99.0.5", undefined],
    ] as const) {
      const plain = await application(address, (socket) => socket.pipe(socket));
      const socket = client.connectOut({ address, port: plain.port });
      assert.equal(await echo(socket, "hi"), "hi");
      const from = `10.99.0.2:${String(socket.localPort)}`;
      socket.end();
      await ended(socket);
      const line = await mesh.line("outbound", (one) => one["src.addr"] === from);
      assert.deepEqual(
        [line["reason"], line["protocol"], line["dst.workload"], line["dst.identity"]],
        ["OK", "tcp", workload, undefined],
      );
      plain.close();
    }
  },
);

test(
  "F-069 F-174 a denied caller gets a reset, the log names the policy, and removing the policy heals",
  { skip },
  async () => {
    const deny = policy("default/no-alice", {
      action: "deny",
      rules: [ruleOf({ principals: [{ kind: "exact", value: "cluster.local/ns/default/sa/alice" }] })],
    });
    mesh.apply({ policies: [deny] });
    const socket = client.connectOut({ address: "10.99.0.3", port: app.port });
    assert.equal(await endOf(socket), "ECONNRESET");
    const inbound = await mesh.line("inbound", (line) => line["reason"] === "POLICY_DENIED");
    assert.equal(inbound["policy"], "default/no-alice");
    assert.equal(inbound["level"], "warn");
    const outbound = await mesh.line("outbound", (line) => line["reason"] === "PEER_DENIED");
    assert.equal(outbound["trace"], inbound["trace"]);
    mesh.apply({ removed: { policies: ["default/no-alice"] } });
    const healed = client.connectOut({ address: "10.99.0.3", port: app.port });
    assert.equal(await echo(healed, "again"), "again");
    healed.destroy();
  },
);

test(
  "F-171 a policy that comes while a connection is open cuts it, and spares the tunnel and the rest",
  { skip },
  async () => {
    const open = client.connectOut({ address: "10.99.0.3", port: app.port });
    const spared = await application("10.99.0.3", (socket) => socket.pipe(socket));
    const other = client.connectOut({ address: "10.99.0.3", port: spared.port });
    assert.equal(await echo(open, "a"), "a");
    assert.equal(await echo(other, "b"), "b");
    const tunnels = mesh.tunnelsOpened;
    const deny = policy("default/not-that-port", {
      action: "deny",
      rules: [ruleOf({ destinationPorts: [app.port] })],
    });
    const reset = endOf(open);
    mesh.apply({ policies: [deny] });
    assert.equal(await reset, "ECONNRESET");
    const line = await mesh.line("inbound", (one) => one["policy"] === "default/not-that-port");
    assert.equal(line["reason"], "POLICY_DENIED");
    assert.equal(await echo(other, "c"), "c");
    assert.equal(mesh.tunnelsOpened, tunnels);
    mesh.apply({ removed: { policies: ["default/not-that-port"] } });
    other.destroy();
    spared.close();
  },
);

test("F-171 a policy that only comes to be attached to a workload cuts what is open there", { skip }, async () => {
  const deny = policy("default/later", { scope: "selector", action: "deny", rules: [{ clauses: [] }] });
  mesh.apply({ policies: [deny] });
  const open = client.connectOut({ address: "10.99.0.3", port: app.port });
  assert.equal(await echo(open, "a"), "a");
  const reset = endOf(open);
  mesh.apply({ workloads: [pod("default/bob", "10.99.0.3", { policies: [deny.key] })] });
  assert.equal(await reset, "ECONNRESET");
  const line = await mesh.line("inbound", (one) => one["policy"] === deny.key);
  assert.equal(line["reason"], "POLICY_DENIED");
  mesh.apply({ workloads: [pod("default/bob", "10.99.0.3")], removed: { policies: [deny.key] } });
});

test("H070 a workload that lists a policy nobody has sent is closed to all", { skip }, async () => {
  mesh.apply({ workloads: [pod("default/bob", "10.99.0.3", { policies: ["default/lost"] })] });
  assert.equal(await endOf(client.connectOut({ address: "10.99.0.3", port: app.port })), "ECONNRESET");
  const line = await mesh.line("inbound", (one) => one["reason"] === "POLICY_UNKNOWN");
  assert.equal(line["policy"], "default/lost");
  mesh.apply({ workloads: [pod("default/bob", "10.99.0.3")] });
});

test(
  "F-068 F-172 H035 plaintext reaches a permissive pod with the client's address, and a strict one refuses it",
  { skip },
  async () => {
    const target = { address: "10.99.0.3", port: app.port };
    const socket = server.connectIn(target);
    assert.equal(await echo(socket, "plain"), "plain");
    assert.equal(peers.at(-1), "10.99.0.9");
    socket.end();
    await ended(socket);
    const line = await mesh.line("inbound", (one) => one["protocol"] === "tcp" && one["reason"] === "OK");
    assert.deepEqual([line["src.identity"], line["dst.workload"]], [undefined, "bob"]);
    const strict = policy("default/strict", {
      action: "deny",
      rules: [ruleOf({ notPrincipals: [{ kind: "presence" }] })],
    });
    mesh.apply({ policies: [strict] });
    assert.equal(await endOf(server.connectIn(target)), "ECONNRESET");
    await mesh.line("inbound", (one) => one["reason"] === "POLICY_MTLS_REQUIRED" && one["policy"] === "default/strict");
    const tunnelled = client.connectOut(target);
    assert.equal(await echo(tunnelled, "mtls"), "mtls");
    tunnelled.destroy();
    mesh.apply({ removed: { policies: ["default/strict"] } });
  },
);

test(
  "F-069 a port on which no application listens resets the client, and both logs say whose fault it is",
  { skip },
  async () => {
    const socket = client.connectOut({ address: "10.99.0.3", port: 9 });
    assert.equal(await endOf(socket), "ECONNRESET");
    const inbound = await mesh.line("inbound", (line) => line["reason"] === "CONNECT_REFUSED");
    const outbound = await mesh.line("outbound", (line) => line["reason"] === "PEER_UNAVAILABLE");
    assert.equal(outbound["trace"], inbound["trace"]);
    assert.equal(outbound["detail"], "status 503");
  },
);

test("H028 a peer that is somebody else gets nothing: the tunnel is refused and never bypassed", { skip }, async () => {
  // The address has been reused: control still believes that carol is there.
  mesh.apply({ workloads: [pod("default/mallory", "10.99.0.16"), pod("default/carol", "10.99.0.6")] });
  await mesh.serve("default/mallory", "10.99.0.6");
  const seen: string[] = [];
  const victim = await application("10.99.0.6", () => seen.push("reached"));
  assert.equal(await endOf(client.connectOut({ address: "10.99.0.6", port: victim.port })), "ECONNRESET");
  const line = await mesh.line("outbound", (one) => one["dst.hbone_addr"] === `10.99.0.6:${victim.port}`);
  assert.equal(line["reason"], "SAN_MISMATCH");
  assert.match(String(line["detail"]), /sa\/mallory instead of .*sa\/carol/);
  assert.deepEqual(seen, []);
  victim.close();
});

test(
  "F-060 F-062 F-063 F-069 H017 H018 every CONNECT is judged by itself, and is answered by the status of its fault",
  { skip },
  async () => {
    const answers = await connects(server, [
      { ":method": "CONNECT", ":authority": `10.99.0.3:${app.port}` },
      { ":method": "CONNECT", ":authority": `10.99.0.2:${app.port}` },
      { ":method": "CONNECT", ":authority": `127.0.0.1:${app.port}` },
      { ":method": "CONNECT", ":authority": "10.99.0.3:15008" },
      { ":method": "CONNECT", ":authority": "nobody.default.svc.cluster.local:80" },
      { ":method": "CONNECT", ":authority": "10.99.0.3" },
      { ":method": "GET", ":authority": "10.99.0.3:80", ":scheme": "https", ":path": "/" },
      { ":method": "CONNECT", ":authority": "10.99.0.3:9" },
    ]);
    assert.deepEqual(answers, [200, 400, 400, 503, 503, 400, 400, 503]);
    for (const reason of ["DEST_NOT_LOCAL", "RECURSIVE_CALL", "UNKNOWN_HOSTNAME", "BAD_AUTHORITY", "NOT_CONNECT"]) {
      await mesh.line("inbound", (line) => line["reason"] === reason);
    }
  },
);

test(
  "F-028 H040 a connection waits for control to tell of its pod, and is refused when that takes too long",
  { skip },
  async () => {
    const own = new LoopbackMesh({ deadlineMs: 300 });
    const early = await own.serve("default/early", "10.99.0.7");
    const target = { address: "10.99.0.8", port: 0 };
    const late = await application("10.99.0.8", (socket) => socket.pipe(socket));
    target.port = late.port;
    const first = endOf(early.connectOut(target));
    assert.equal(await first, "ECONNRESET");
    await own.line("outbound", (line) => line["reason"] === "NO_WORKLOAD");
    const second = early.connectOut(target);
    const reply = echo(second, "now");
    own.apply({ workloads: [pod("default/early", "10.99.0.7")] });
    assert.equal(await reply, "now");
    second.destroy();
    late.close();
    own.close();
  },
);

test(
  "H040 without a certificate nothing leaves: the connection is refused, and the main thread was asked for one",
  { skip },
  async () => {
    const own = new LoopbackMesh({ deadlineMs: 300 });
    own.apply({ workloads: [pod("default/bare", "10.99.0.10"), pod("default/bob", "10.99.0.3")] });
    const bare = await own.serve("default/bare", "10.99.0.10", "none");
    assert.equal(await endOf(bare.connectOut({ address: "10.99.0.3", port: app.port })), "ECONNRESET");
    await own.line("outbound", (line) => line["reason"] === "NO_CERTIFICATE");
    assert.ok(
      own.messages.some(
        (message) => message.kind === "certificate-wanted" && message.identity.serviceAccount === "bare",
      ),
    );
    own.close();
  },
);

test(
  "F-026 H034 a connection aimed at the agent's own ports is refused before it goes round in circles",
  { skip },
  async () => {
    for (const address of ["127.0.0.1", "10.99.0.2"]) {
      assert.equal(await endOf(client.connectOut({ address, port: 15_001 })), "ECONNRESET");
    }
    await mesh.line("outbound", (line) => line["reason"] === "RECURSIVE_CALL");
  },
);

test("a pod that leaves finishes what is open, takes nothing new, and says when it is done", { skip }, async () => {
  const own = new LoopbackMesh();
  own.apply({ workloads: [pod("default/leaver", "10.99.0.11"), pod("default/stayer", "10.99.0.12")] });
  const stayerApp = await application("10.99.0.12", (socket) => socket.pipe(socket));
  const leaver = await own.serve("default/leaver", "10.99.0.11");
  await own.serve("default/stayer", "10.99.0.12");
  const open = leaver.connectOut({ address: "10.99.0.12", port: stayerApp.port });
  assert.equal(await echo(open, "before"), "before");
  own.send({ kind: "leave", uid: leaver.uid, lingerMs: 0 });
  await until("nothing is accepted any more", 5_000, () => own.messages.some(({ kind }) => kind === "pod-closed"));
  const refused = leaver.connectOut({ address: "10.99.0.12", port: stayerApp.port });
  assert.equal(await endOf(refused), "ECONNREFUSED");
  assert.equal(await echo(open, "after"), "after");
  assert.ok(!own.messages.some(({ kind }) => kind === "pod-gone"));
  open.end();
  await ended(open);
  await until("nothing is left", 5_000, () => own.messages.some(({ kind }) => kind === "pod-gone"));
  stayerApp.close();
  own.close();
});

test(
  "an idle pod that leaves and is wanted back at once says first that its ports are free, then that it is gone",
  { skip },
  async () => {
    const own = new LoopbackMesh();
    own.apply({ workloads: [pod("default/wanted", "10.99.0.16")] });
    const { uid } = await own.serve("default/wanted", "10.99.0.16");
    own.send({ kind: "leave", uid, lingerMs: 60_000 });
    own.send({ kind: "hurry", uid });
    await until("nothing is left", 5_000, () => own.messages.some(({ kind }) => kind === "pod-gone"));
    const said = own.messages.map(({ kind }) => kind).filter((kind) => kind === "pod-closed" || kind === "pod-gone");
    assert.deepEqual(said, ["pod-closed", "pod-gone"]);
    own.close();
  },
);

test("an endpoint that fails before a byte was relayed is passed over for another one", { skip }, async () => {
  const own = new LoopbackMesh();
  const good = await application("10.99.0.14", (socket) => socket.pipe(socket));
  const web = service("default/two", "10.96.0.2", [port(80, good.port)]);
  const services = backs([web, port(80, good.port)]);
  own.apply({
    services: [web],
    workloads: [
      pod("default/caller", "10.99.0.15"),
      pod("default/good", "10.99.0.14", { services }),
      pod("default/dead", "10.99.0.13", { services }),
    ],
  });
  const caller = await own.serve("default/caller", "10.99.0.15");
  await own.serve("default/good", "10.99.0.14");
  // Nobody is at dead's 15008: about half of the first choices fail, and every connection succeeds.
  for (let i = 0; i < 12; i++) {
    const socket = caller.connectOut({ address: "10.96.0.2", port: 80 });
    assert.equal(await echo(socket, `n${i}`), `n${i}`);
    socket.destroy();
  }
  good.close();
  own.close();
});

function ended(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => (socket.closed ? resolve() : socket.once("close", () => resolve())));
}

/** The statuses of these requests in one tunnel as alice; 0 for a reset. */
async function connects(to: LoopbackPod, requests: Record<string, string>[]): Promise<number[]> {
  const tunnel = new TunnelClient({ address: to.address, port: to.hbonePort }, alice, "10.99.0.2");
  const statuses: number[] = [];
  for (const { ":authority": authority = "", ...headers } of requests)
    statuses.push(await tunnel.status(authority, headers));
  tunnel.close();
  return statuses;
}
