/** Two networks, each with a worker of its own, and the gateway between them. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { before, describe, test, type TestContext } from "node:test";
import type { MeshUpdate } from "../../core/decision/mesh-state.ts";
import type { Endpoint } from "../../core/base/ip.ts";
import { EastWestGateway, type GatewayOptions } from "../../test/support/east-west-gateway.ts";
import { engines, engineOf, type EngineName } from "../../test/support/engines.ts";
import { root } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity } from "../../test/support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, gatewayAt, match, pod, policy, port, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { echo, endOf } from "../../test/support/sockets.ts";
import { until } from "../../test/support/until.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

const skip = enterNamespaces() ?? false;
const [aliceAddress, cartAddress, gatewayAddress] = ["10.99.0.2", "10.99.0.30", "10.99.0.50"];
const waypointAddress = "10.99.0.60";
const vip: Endpoint = { address: "10.96.0.1", port: 80 };
const cartName = "spiffe://cluster.local/ns/default/sa/cart";
const gatewayIdentity = testIdentity(root, identityOf("east-west"));
const gatewayName = "spiffe://cluster.local/ns/default/sa/east-west";
/** As the client's network knows it. */
const cart = service("default/cart", "", [port(80, 8_080)], {
  vips: [{ network: "east", address: vip.address }],
  subjectAltNames: [cartName],
});
const aliceRecord = pod("default/alice", aliceAddress, { network: "east", clusterId: "c-east" });
const gatewayRecord = pod("default/east-west", gatewayAddress, { network: "west" });
/** All endpoints of the other network in one record. */
const remote = pod("default/cart-of-west", "", {
  network: "west",
  networkGateway: { destination: { kind: "address", network: "west", address: gatewayAddress }, port: 15_008 },
  services: backs([cart, port(80, 8_080)]),
});
/** As the other network knows it. */
const cartThere = service("default/cart", "", [port(80, 8_080)]);
const cartPod: Partial<MeshWorkload> = {
  network: "west",
  workloadType: "deployment",
  workloadName: "cart-v2",
  canonicalName: "cart",
  clusterId: "c-west",
  services: backs([cartThere, port(80, 8_080)]),
};

before(() => (skip === false ? ownAddresses() : undefined));

interface Scene {
  /** The client's network. */
  readonly east: LoopbackMesh;
  readonly west: LoopbackMesh;
  readonly alice: LoopbackPod;
  readonly cart: LoopbackPod;
  readonly gateway: EastWestGateway;
  /** What cart's application has accepted. */
  readonly accepted: Socket[];
}

async function scene(
  t: TestContext,
  engine: EngineName,
  options: {
    readonly route?: GatewayOptions["route"];
    readonly east?: MeshUpdate;
    readonly west?: MeshUpdate;
    readonly accept?: (socket: Socket) => void;
    readonly deadlineMs?: number;
  } = {},
): Promise<Scene> {
  const accepted: Socket[] = [];
  const { accept = (socket: Socket) => socket.pipe(socket), deadlineMs = 5_000 } = options;
  const app = await application(cartAddress, (socket) => (accepted.push(socket), accept(socket)), 8_080);
  t.after(app.close);
  const meshOf = (network: string): LoopbackMesh => {
    const mesh = new LoopbackMesh({ settings: { ...engineOf(engine).meshOptions.settings, network }, deadlineMs });
    t.after(() => mesh.close());
    return mesh;
  };
  const [east, west] = [meshOf("east"), meshOf("west")];
  east.apply({ services: [cart], workloads: [aliceRecord, gatewayRecord, remote], ...options.east });
  // The gateway is somebody there, and is not the client.
  const there = { services: [cartThere], workloads: [pod("default/cart", cartAddress, cartPod), gatewayRecord] };
  west.apply({ ...there, ...options.west });
  const alice = await east.serve("default/alice", aliceAddress);
  const cartServed = await west.serve("default/cart", cartAddress);
  const toCart = { address: cartAddress, port: cartServed.hbonePort };
  const gateway = await EastWestGateway.start({
    address: gatewayAddress,
    identity: gatewayIdentity,
    engine,
    route: options.route ?? (() => toCart),
  });
  t.after(() => gateway.close());
  return { east, west, alice, cart: cartServed, gateway, accepted };
}

for (const engine of engines) {
  describe(`a service of another network (${engine})`, () => {
    test("F-042 F-085 is reached by a tunnel inside the gateway's, each with its own peer", { skip }, async (t) => {
      const { east, west, alice, gateway, accepted } = await scene(t, engine);
      const socket = alice.connectOut(vip);
      assert.equal(await echo(socket, "hello"), "hello");
      assert.equal(accepted.length, 1);
      socket.end();
      const authority = "cart.default.svc.cluster.local:80";
      const sent = await east.line("outbound", ({ reason }) => reason === "OK");
      assert.deepEqual(
        [sent["dst.addr"], sent["dst.hbone_addr"], sent["src.identity"], sent["dst.identity"]],
        [`${gatewayAddress}:15008`, authority, "spiffe://cluster.local/ns/default/sa/alice", cartName],
      );
      // What the other network's agent says of whom the gateway has chosen.
      assert.deepEqual([sent["dst.workload"], sent["dst.cluster"]], ["cart-v2", "c-west"]);
      const [outer] = gateway.requests;
      assert.deepEqual([outer?.[":authority"], outer?.["x-forwarded-network"]], [authority, undefined]);
      // The gateway's address says nothing of the client; its certificate, which went through both tunnels, does.
      const taken = await west.line("inbound", ({ reason }) => reason === "OK");
      assert.deepEqual(
        [taken["src.identity"], taken["src.workload"], taken["dst.hbone_addr"], taken["dst.service"]],
        ["spiffe://cluster.local/ns/default/sa/alice", undefined, authority, "cart.default.svc.cluster.local"],
      );
      assert.equal(sent["trace"], taken["trace"]);
    });

    test(
      "F-104 F-100 takes a tunnel of its own for each connection, through one to the gateway",
      { skip },
      async (t) => {
        const { alice, gateway, east } = await scene(t, engine);
        const sockets = Array.from({ length: 10 }, () => alice.connectOut(vip));
        await Promise.all(
          sockets.map((socket, at) => echo(socket, `n${at}`).then((got) => assert.equal(got, `n${at}`))),
        );
        assert.equal(gateway.tunnels, 1);
        assert.deepEqual([gateway.requests.length, gateway.forwarded.length], [10, 10]);
        for (const socket of sockets) socket.end();
        await until("all inner tunnels are gone", 5_000, () => gateway.outcomes.length === 10);
        assert.ok(
          gateway.outcomes.every(({ kind }) => kind === "orderly"),
          JSON.stringify(gateway.outcomes),
        );
        await until("ten lines", 5_000, () => east.lines.filter(({ reason }) => reason === "OK").length === 10);
      },
    );

    test(
      "F-043 may have a gateway that is named by a service, on a port that the service maps",
      { skip },
      async (t) => {
        const named = service("default/ew", "", [port(15_008, 15_443)]);
        const reference = {
          destination: { kind: "hostname", namespace: "default", hostname: named.hostname },
        } as const;
        const { alice } = await scene(t, engine, {
          east: {
            services: [cart, named],
            workloads: [
              aliceRecord,
              pod("default/east-west", gatewayAddress, {
                network: "east",
                services: backs([named, port(15_008, 15_443)]),
              }),
              { ...remote, networkGateway: { ...reference, port: 15_008 } },
            ],
          },
        });
        const other = await EastWestGateway.start({
          address: gatewayAddress,
          port: 15_443,
          identity: gatewayIdentity,
          engine,
          route: () => 503,
        });
        t.after(() => other.close());
        await endOf(alice.connectOut(vip));
        assert.ok(other.requests.length > 0);
      },
    );

    test("F-044 is reached at its waypoint there, whom alone the inner tunnel believes", { skip }, async (t) => {
      const waypointName = "spiffe://cluster.local/ns/default/sa/waypoint";
      const front = service("default/waypoint", "", [port(15_008, 15_008)], { subjectAltNames: [waypointName] });
      const behind = {
        ...remote,
        uid: "west/waypoint",
        name: "waypoint-of-west",
        services: backs([front, port(15_008, 15_008)]),
      };
      const { east, alice } = await scene(t, engine, {
        route: () => ({ address: waypointAddress, port: 15_008 }),
        east: {
          services: [{ ...cart, waypoint: gatewayAt(front) }, front],
          workloads: [aliceRecord, gatewayRecord, remote, behind],
        },
      });
      const waypoint = await EastWestGateway.start({
        address: waypointAddress,
        identity: testIdentity(root, identityOf("waypoint")),
        engine,
        route: () => ({ address: cartAddress, port: 8_080 }),
      });
      t.after(() => waypoint.close());
      const socket = alice.connectOut(vip);
      assert.equal(await echo(socket, "hello"), "hello");
      socket.end();
      const line = await east.line("outbound");
      assert.equal(line["dst.identity"], waypointName);
      const [inner] = waypoint.requests;
      assert.deepEqual(
        [inner?.[":authority"], inner?.["x-forwarded-network"]],
        ["cart.default.svc.cluster.local:80", "east"],
      );
    });

    test("F-042 H028 H032 is not the gateway: that proves itself to the outer tunnel only", { skip }, async (t) => {
      // Which forwards to itself what it should forward blindly.
      const { east, alice, accepted } = await scene(t, engine, {
        route: () => ({ address: gatewayAddress, port: 15_008 }),
      });
      assert.equal(await endOf(alice.connectOut(vip)), "ECONNRESET");
      const { reason, detail } = await east.line("outbound");
      assert.equal(reason, "SAN_MISMATCH");
      assert.match(String(detail), /^behind west\/10\.99\.0\.50:15008: spiffe:.*east-west instead of spiffe:.*cart$/);
      assert.equal(accepted.length, 0);
    });

    test("F-042 H028 whose gateway is somebody else is not reached at all", { skip }, async (t) => {
      const imposter = { ...gatewayRecord, serviceAccount: "another" };
      const { east, alice, gateway } = await scene(t, engine, {
        east: { services: [cart], workloads: [aliceRecord, imposter, remote] },
      });
      assert.equal(await endOf(alice.connectOut(vip)), "ECONNRESET");
      const { reason, detail } = await east.line("outbound");
      assert.equal(reason, "SAN_MISMATCH");
      assert.ok(String(detail).startsWith(gatewayName), String(detail));
      assert.equal(gateway.requests.length, 0);
    });

    for (const [what, status, reason] of [
      ["that the gateway does not know", 503, "PEER_UNAVAILABLE"],
      ["that the gateway refuses", 401, "PEER_DENIED"],
    ] as const) {
      test(`F-042 ${what} is refused with the gateway's reason`, { skip }, async (t) => {
        const { east, alice } = await scene(t, engine, { route: () => status });
        assert.equal(await endOf(alice.connectOut(vip)), "ECONNRESET");
        assert.deepEqual([(await east.line("outbound"))["reason"]], [reason]);
      });
    }

    test("F-042 is judged by its own network's policies, by the client's identity", { skip }, async (t) => {
      const deny = policy("default/no-alice", {
        action: "deny",
        rules: [{ clauses: [{ matches: [match({ principals: [principal("alice")] })] }] }],
      });
      const { east, west, alice, accepted } = await scene(t, engine, {
        west: { policies: [deny] },
      });
      assert.equal(await endOf(alice.connectOut(vip)), "ECONNRESET");
      const line = await east.line("outbound");
      assert.deepEqual([line["reason"], line["detail"]], ["PEER_DENIED", "behind west/10.99.0.50:15008: status 401"]);
      await west.line("inbound", ({ reason }) => reason === "POLICY_DENIED");
      assert.equal(accepted.length, 0);
    });

    test("H023 that never answers behind the gateway is given up in time", { skip }, async (t) => {
      const { east, alice, gateway } = await scene(t, engine, { route: () => mute, deadlineMs: 1_000 });
      const silent = await application(mute.address, () => {}, mute.port);
      t.after(silent.close);
      assert.equal(await endOf(alice.connectOut(vip)), "ECONNRESET");
      assert.equal((await east.line("outbound"))["reason"], "TLS_HANDSHAKE_TIMEOUT");
      await until("what was forwarded is cut", 5_000, () => gateway.outcomes.length === gateway.forwarded.length);
      assert.equal(await tunnelsOf(east), 1, "the gateway's own tunnel stays");
    });

    test("H023 whose gateway never answers is given up in time", { skip }, async (t) => {
      const { east, alice } = await scene(t, engine, { route: () => "nowhere", deadlineMs: 1_000 });
      assert.equal(await endOf(alice.connectOut(vip)), "ECONNRESET");
      assert.equal((await east.line("outbound"))["reason"], "CONNECT_TIMEOUT");
    });

    test("F-042 is asked again for through a gateway that chose somebody who was just going", { skip }, async (t) => {
      let asked = 0;
      const first = { address: cartAddress, port: 9 };
      const {
        east,
        alice,
        cart: served,
        gateway,
      } = await scene(t, engine, {
        route: () => (asked++ === 0 ? first : { address: cartAddress, port: served.hbonePort }),
      });
      const socket = alice.connectOut(vip);
      assert.equal(await echo(socket, "hello"), "hello");
      assert.equal(gateway.requests.length, 2);
      socket.destroy();
      const line = await east.line("outbound");
      assert.deepEqual([line["retries"], line["retry_reason"]], [1, "PEER_UNAVAILABLE"]);
    });
  });

  describe(`bytes through a tunnel inside a tunnel (${engine})`, () => {
    test("F-042 come as they went, in both directions, sixteen million of them", { skip }, async (t) => {
      const { alice } = await scene(t, engine);
      const bytes = randomBytes(16 << 20);
      const socket = alice.connectOut(vip);
      const digest = createHash("sha256");
      const whole = new Promise<number>((resolve, reject) => {
        let length = 0;
        socket.on("data", (chunk: Buffer) => ((length += chunk.length), digest.update(chunk)));
        socket.once("end", () => resolve(length));
        socket.once("error", reject);
      });
      socket.end(bytes);
      assert.equal(await whole, bytes.length);
      assert.equal(digest.digest("hex"), createHash("sha256").update(bytes).digest("hex"));
    });

    test("F-042 F-090 end on each side by itself", { skip }, async (t) => {
      const { east, alice, accepted } = await scene(t, engine, { accept: () => {} });
      const socket = alice.connectOut(vip);
      socket.write("question");
      const app = await until("the application", 5_000, () => accepted[0]);
      let heard = "";
      app.on("data", (chunk) => (heard += String(chunk)));
      let appEnded = false;
      app.once("end", () => (appEnded = true));
      socket.end();
      await until("the client's end arrives", 5_000, () => appEnded);
      assert.equal(heard, "question");
      const answer = textOf(socket);
      app.end("answer, afterwards");
      assert.equal(await answer, "answer, afterwards");
      assert.equal((await east.line("outbound"))["reason"], "OK");
    });

    test("F-042 a reset of the application is a reset of the client", { skip }, async (t) => {
      const { east, alice, accepted, gateway } = await scene(t, engine, { accept: () => {} });
      const socket = alice.connectOut(vip);
      socket.write("x");
      const app = await until("the application", 5_000, () => accepted[0]);
      const end = endOf(socket);
      app.resetAndDestroy();
      assert.equal(await end, "ECONNRESET");
      assert.equal((await east.line("outbound"))["reason"], "UPSTREAM_RESET");
      await until("the outer stream is over", 5_000, () => gateway.outcomes.length === 1);
    });

    test("F-042 a reset of the client is a reset of the application", { skip }, async (t) => {
      const { west, alice, accepted, gateway } = await scene(t, engine, { accept: () => {} });
      const socket = alice.connectOut(vip);
      socket.write("x");
      const app = await until("the application", 5_000, () => accepted[0]);
      const end = endOf(app);
      socket.resetAndDestroy();
      assert.equal(await end, "ECONNRESET");
      assert.equal((await west.line("inbound"))["reason"], "CLIENT_RESET");
      await until("the outer stream is over", 5_000, () => gateway.outcomes.length === 1);
    });

    test("F-042 a gateway that breaks resets both sides, and its tunnels are gone", { skip }, async (t) => {
      const { east, west, alice, accepted, gateway } = await scene(t, engine, { accept: (app) => app.write("hello") });
      const socket = alice.connectOut(vip);
      // All the way there and back.
      await once(socket, "data");
      const app = await until("the application", 5_000, () => accepted[0]);
      const ends = [endOf(socket), endOf(app)];
      gateway.close();
      assert.deepEqual(await Promise.all(ends), ["ECONNRESET", "ECONNRESET"]);
      for (const [mesh, direction] of [
        [east, "outbound"],
        [west, "inbound"],
      ] as const) {
        assert.equal((await mesh.line(direction))["reason"], "TUNNEL_LOST");
        await until("no tunnel is left", 5_000, async () => (await tunnelsOf(mesh)) === 0);
      }
    });

    test("F-042 that nobody reads wait where they are, in windows, and not in us", { skip }, async (t) => {
      const { alice, accepted } = await scene(t, engine, { accept: (socket) => socket.pause() });
      const socket = alice.connectOut(vip);
      const bytes = 64 << 20;
      socket.end(Buffer.alloc(bytes));
      await until("the connection is up", 5_000, () => accepted.length > 0);
      let [taken, looks] = [-1, 0];
      await until("nothing more is taken", 20_000, () => {
        const before = taken;
        taken = inFlight(socket);
        looks = before === taken ? looks + 1 : 0;
        return looks > 10;
      });
      // Windows of 4 MiB in each of two tunnels, and what the sockets hold in the kernel.
      assert.ok(inFlight(socket) < 48 << 20, `${inFlight(socket) >> 20} MiB were taken`);
      const app = accepted[0];
      let got = 0;
      app?.on("data", (chunk: Buffer) => (got += chunk.length));
      app?.resume();
      await until("everything arrives in the end", 20_000, () => got === bytes);
    });
  });
}

const mute: Endpoint = { address: "10.99.0.77", port: 15_008 };

function principal(account: string): { kind: "exact"; value: string } {
  return { kind: "exact", value: `cluster.local/ns/default/sa/${account}` };
}

function textOf(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.once("end", () => resolve(text));
    socket.once("error", reject);
  });
}

async function tunnelsOf(mesh: LoopbackMesh): Promise<number> {
  mesh.send({ kind: "dump", id: 1 });
  const dumped = await until("a dump", 5_000, () => mesh.messages.findLast((message) => message.kind === "dumped"));
  assert.ok(dumped.kind === "dumped");
  return dumped.dump.tunnels.inbound.open + dumped.dump.tunnels.outbound.open;
}

/** What the kernel and those after it have taken from an application. */
function inFlight(socket: Socket): number {
  return socket.bytesWritten - (socket as Socket & { _handle?: { writeQueueSize: number } })._handle!.writeQueueSize;
}
