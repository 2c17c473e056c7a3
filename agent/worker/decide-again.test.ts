import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { NameServer } from "../../test/support/name-server.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { systemClock } from "../../core/base/clock.ts";
import type { OutboundDecision } from "../../core/decision/route.ts";
import { decideAgain } from "./decide-again.ts";
import { dnsLookup, HostResolver } from "./resolver.ts";

const skip = enterNamespaces() ?? false;
let mesh: LoopbackMesh;
let client: LoopbackPod;
let names: NameServer;
let app: { port: number; close: () => void };
/** Local addresses that the application was reached at. */
const reached: string[] = [];

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  names = await NameServer.start();
  app = await application("10.99.0.3", (socket) => {
    reached.push(socket.localAddress ?? "");
    socket.pipe(socket);
  });
  const resolver = new HostResolver({ clock: systemClock, lookup: dnsLookup([names.address]), deadlineMs: 5_000 });
  mesh = new LoopbackMesh({ resolver });
  const named = (path: string, hostname: string, ...of: Parameters<typeof backs>) =>
    pod(path, "", { hostname, tunnel: "tcp", services: backs(...of) });
  const db = service("default/db", "10.96.0.1", [port(80, app.port)]);
  const gone = service("default/gone", "10.96.0.2", [port(80, app.port)]);
  const abroad = service("default/abroad", "10.96.0.4", [port(80, app.port)]);
  const mixed = service("default/mixed", "10.96.0.3", [port(80, app.port)]);
  mesh.apply({
    services: [db, gone, mixed, abroad],
    workloads: [
      pod("default/alice", "10.99.0.2"),
      named("default/db", "db.example", [db]),
      named("default/gone", "gone.example", [gone]),
      named("default/mixed-0", "gone.example", [mixed]),
      named("default/mixed-1", "lost.example", [mixed]),
      named("default/mixed-2", "db.example", [mixed]),
      named("default/abroad-0", "db.example", [abroad]),
      // On another network, and no way there.
      pod("default/abroad-1", "10.99.0.77", { network: "west", services: backs([abroad]) }),
    ],
  });
  names.entries.set("db.example", { addresses: ["10.99.0.3", "2001:db8::7"], ttl: 60 });
  client = await mesh.serve("default/alice", "10.99.0.2");
});
after(() => {
  app?.close();
  mesh?.close();
  names?.close();
});

test(
  "F-046 a connection to an endpoint that has only a name waits for its address and goes there",
  { skip },
  async () => {
    const socket = client.connectOut({ address: "10.96.0.1", port: 80 });
    socket.end("hello");
    assert.equal(await textOf(socket), "hello");
    assert.equal(reached.at(-1), "10.99.0.3", "the address of the family that was asked for");
    const again = client.connectOut({ address: "10.96.0.1", port: 80 });
    again.end("again");
    assert.equal(await textOf(again), "again");
    assert.equal(names.asked.filter((question) => question.startsWith("db.")).length, 2, "asked once in each family");
  },
);

test("F-046 a name without an address refuses, and the record names it", { skip }, async () => {
  const socket = client.connectOut({ address: "10.96.0.2", port: 80 });
  await assert.rejects(textOf(socket), { code: "ECONNRESET" });
  const line = await mesh.line("outbound", (one) => one["reason"] === "HOSTNAME_UNRESOLVED");
  assert.match(JSON.stringify(line), /gone\.example/);
});

test("F-046 an endpoint whose name has no address is passed over for one that has", { skip }, async () => {
  for (let attempt = 0; attempt < 12; attempt++) {
    const socket = client.connectOut({ address: "10.96.0.3", port: 80 });
    socket.end("x");
    assert.equal(await textOf(socket), "x");
  }
});

test(
  "F-042 an endpoint on a network that no gateway leads to is passed over for one of this network",
  { skip },
  async () => {
    for (let attempt = 0; attempt < 12; attempt++) {
      const socket = client.connectOut({ address: "10.96.0.4", port: 80 });
      socket.end("x");
      assert.equal(await textOf(socket), "x");
    }
  },
);

test("F-046 whoever is passed over, the first refusal stands where nobody is left", async () => {
  const refusal = (endpoint: string, hostname?: string): OutboundDecision => ({
    kind: "refuse",
    reason: hostname === undefined ? "NO_NETWORK_GATEWAY" : "HOSTNAME_UNRESOLVED",
    endpoint,
    ...(hostname !== undefined && { hostname }),
    trace: [],
  });
  const none: OutboundDecision = { kind: "refuse", reason: "NO_HEALTHY_UPSTREAM", trace: [] };
  const asked: string[][] = [];
  const resolver = { known: () => undefined, resolve: () => Promise.resolve([]) };
  const decision = await decideAgain(resolver, new Set(["before"]), (exclude) => {
    asked.push([...exclude]);
    if (!exclude.has("a")) return refusal("a", "a.example");
    return exclude.has("b") ? none : refusal("b");
  });
  assert.equal(decision.kind === "refuse" && decision.reason, "HOSTNAME_UNRESOLVED");
  assert.deepEqual(asked, [["before"], ["before"], ["before", "a"], ["before", "a", "b"]]);
  // One that stays however often it is passed over does not keep the connection.
  const stubborn = await decideAgain(resolver, undefined, () => refusal("a"));
  assert.equal(stubborn.kind === "refuse" && stubborn.reason, "NO_NETWORK_GATEWAY");
});

function textOf(socket: ReturnType<LoopbackPod["connectOut"]>): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
  });
}
