/** A service with two endpoints, of which one dies at each step that a connection takes: nobody's request may be lost with it. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { before, describe, test, type TestContext } from "node:test";
import { systemClock, type Clock } from "../../core/base/clock.ts";
import { answer, startFrameServer, type ServedTunnel } from "../../test/hostile/frame-server.ts";
import {
  block,
  flags,
  frameTypes,
  goaway,
  h2Errors,
  headers,
  rstStream,
  settingIds,
} from "../../test/hostile/frames.ts";
import { engines, engineOf, type EngineName } from "../../test/support/engines.ts";
import { root } from "../../test/support/hbone-pair.ts";
import { identityOf, testIdentity } from "../../test/support/identities.ts";
import { application, LoopbackMesh, ownAddresses, type LoopbackPod } from "../../test/support/loopback-mesh.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { until } from "../../test/support/until.ts";

const skip = enterNamespaces() ?? false;
const web = service("default/web", "10.96.0.1", [port(80, 8_080)]);
const vip = { address: "10.96.0.1", port: 80 };
const services = backs([web, port(80, 8_080)]);
const [living, dying] = ["10.99.0.3", "10.99.0.4"];
const dyingIdentity = testIdentity(root, identityOf("dying"));

before(() => (skip === false ? ownAddresses() : undefined));

interface Scene {
  readonly mesh: LoopbackMesh;
  readonly client: LoopbackPod;
  /** Connects to the service, says something and hears it again. */
  readonly succeeds: () => Promise<void>;
}

async function open(t: TestContext, engine: EngineName, clock: Clock = systemClock): Promise<Scene> {
  const mesh = new LoopbackMesh({ ...engineOf(engine).meshOptions, clock, deadlineMs: 10_000 });
  t.after(() => mesh.close());
  mesh.apply({
    services: [web],
    workloads: [
      pod("default/alice", "10.99.0.2"),
      pod("default/living", living, { services }),
      pod("default/dying", dying, { services }),
    ],
  });
  const client = await mesh.serve("default/alice", "10.99.0.2");
  await mesh.serve("default/living", living);
  const app = await application(living, (socket) => socket.pipe(socket), 8_080);
  t.after(app.close);
  // Its tunnel stands: who waits from now on waits for the other.
  await echoed(client.connectOut({ address: living, port: 8_080 }));
  return { mesh, client, succeeds: () => echoed(client.connectOut(vip)) };
}

async function echoed(socket: Socket): Promise<void> {
  const text = await new Promise<string>((resolve, reject) => {
    socket.once("data", (chunk) => resolve(String(chunk)));
    socket.once("error", reject);
    socket.once("end", () => reject(new Error("ended")));
    socket.write("hello");
  });
  assert.equal(text, "hello");
  socket.destroy();
}

/** What plays the dying pod's 15008. @returns how many tunnels came to TLS. */
async function dies(t: TestContext, onTunnel: (tunnel: ServedTunnel) => void): Promise<() => number> {
  const server = await startFrameServer({ host: dying, port: 15_008, identity: dyingIdentity, onTunnel });
  t.after(server.close);
  return () => server.tunnels.length;
}

function onRequest(act: (tunnel: ServedTunnel, stream: number) => void): (tunnel: ServedTunnel) => void {
  return (tunnel) => {
    tunnel.greet();
    tunnel.onFrame = ({ type, stream }) => {
      if (type === frameTypes.headers) act(tunnel, stream);
    };
  };
}

const gone = (stream: number): Buffer =>
  headers(
    stream,
    block([
      [":status", "503"],
      ["x-ambientd-gone", "true"],
    ]),
    flags.endHeaders | flags.endStream,
  );

/** What it does, the reason that a connection gets for it, and whether others hear of it. */
const deaths: readonly (readonly [string, string, boolean, (t: TestContext) => Promise<() => number>])[] = [
  ["takes no TCP", "CONNECT_REFUSED", true, () => Promise.resolve(() => 0)],
  [
    "closes before TLS",
    "TLS_HANDSHAKE_FAILED",
    true,
    async (t) => {
      let accepted = 0;
      const closing = await application(
        dying,
        (socket) => ((accepted += 1), socket.once("data", () => socket.resetAndDestroy())),
        15_008,
      );
      t.after(closing.close);
      return () => accepted;
    },
  ],
  ["goes after TLS, before the CONNECT", "TUNNEL_LOST", true, (t) => dies(t, (tunnel) => tunnel.destroy())],
  [
    "goes after the CONNECT",
    "TUNNEL_LOST",
    true,
    (t) =>
      dies(
        t,
        onRequest((tunnel) => tunnel.destroy()),
      ),
  ],
  [
    "answers 503, as for an application that refuses,",
    "PEER_UNAVAILABLE",
    false,
    (t) =>
      dies(
        t,
        onRequest((tunnel, stream) => tunnel.send(answer(stream, "503", flags.endHeaders | flags.endStream))),
      ),
  ],
  [
    "says that it is gone",
    "WORKLOAD_GONE",
    true,
    (t) =>
      dies(
        t,
        onRequest((tunnel, stream) => tunnel.send(gone(stream))),
      ),
  ],
  [
    "refuses the stream",
    "STREAM_REFUSED",
    true,
    (t) =>
      dies(
        t,
        onRequest((tunnel, stream) => tunnel.send(rstStream(stream, h2Errors.refusedStream))),
      ),
  ],
  [
    "says GOAWAY",
    "STREAM_REFUSED",
    true,
    (t) =>
      dies(
        t,
        onRequest((tunnel) => tunnel.send(goaway(0))),
      ),
  ],
];

for (const engine of engines) {
  describe(`a connection to a service of which one endpoint (${engine})`, () => {
    for (const [what, reason, isEjected, kill] of deaths) {
      test(`${what} reaches the other`, { skip }, async (t) => {
        const { mesh, succeeds } = await open(t, engine);
        await kill(t);
        for (let attempt = 0; attempt < 30; attempt++) await succeeds();
        const retried = await mesh.line("outbound", (line) => line["retries"] !== undefined);
        assert.equal(retried["retry_reason"], reason);
        const retries = mesh.lines.filter((line) => line["retries"] !== undefined).length;
        // One in 2^29 comes to the dying one less than twice.
        if (isEjected) assert.equal(retries, 1, "nobody else has tried it");
        else assert.ok(retries > 1, "it is not said of the whole pod");
        assert.ok(mesh.lines.every((line) => line["direction"] === "inbound" || line["reason"] !== reason));
      });
    }

    test("H023 never answers waits three seconds, and the next ones do not wait", { skip }, async (t) => {
      const clock = new TurnableClock();
      const { mesh, succeeds } = await open(t, engine, clock);
      await dies(
        t,
        onRequest(() => {}),
      );
      await clock.turnFor(succeeds);
      const before = mesh.tunnelsOpened;
      for (let attempt = 0; attempt < 20; attempt++) await succeeds();
      assert.equal(mesh.tunnelsOpened, before);
      assert.equal(clock.waiting, 0);
    });

    test("never answers is asked the next time in another tunnel", { skip }, async (t) => {
      const clock = new TurnableClock();
      const { succeeds } = await open(t, engine, clock);
      const tunnels = await dies(
        t,
        onRequest((tunnel, stream) => {
          if (tunnels() > 1) tunnel.send(answer(stream, "503", flags.endHeaders | flags.endStream));
        }),
      );
      await clock.turnFor(succeeds);
      assert.equal(tunnels(), 1);
      clock.skip(10_001);
      await until("it is asked again", 10_000, async () => {
        await succeeds();
        return tunnels() === 2;
      });
    });

    test("H027 allows no stream waits for room three seconds, and it is left alone for thirty", { skip }, async (t) => {
      const clock = new TurnableClock();
      const { mesh, succeeds } = await open(t, engine, clock);
      const tunnels = await dies(t, (tunnel) => {
        tunnel.greet([[settingIds.maxConcurrentStreams, 0]]);
        tunnel.onFrame = ({ type, stream }) => {
          if (type === frameTypes.headers) tunnel.send(rstStream(stream, h2Errors.refusedStream));
        };
      });
      // The first is refused before the limit is known; that is forgotten before the next.
      await until("the limit is known", 10_000, async () => {
        await succeeds();
        return tunnels() > 0;
      });
      clock.skip(5_001);
      await clock.turnFor(succeeds);
      const full = await mesh.line("outbound", (line) => line["retry_reason"] === "NO_STREAM_CAPACITY");
      assert.equal(full["reason"], "OK");
      clock.skip(26_000);
      for (let attempt = 0; attempt < 20; attempt++) await succeeds();
      assert.equal(clock.waiting, 0);
      clock.skip(4_001);
      await clock.turnFor(succeeds);
      assert.equal(tunnels(), 1);
    });
  });
}

/** Stands still but for `skip`; an attempt's three seconds end when the test says so, and other timers run as they do. */
class TurnableClock implements Clock {
  #nowMs = 0;
  readonly #held = new Set<{ readonly fire: () => void }>();

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, fire: () => void): () => void {
    if (delayMs !== 3_000) return systemClock.after(delayMs, fire);
    const timer = { fire };
    this.#held.add(timer);
    return () => void this.#held.delete(timer);
  }

  get waiting(): number {
    return this.#held.size;
  }

  /** Twenty of those, of whom some have to wait; their three seconds are over once nobody else is under way. */
  async turnFor(begin: () => Promise<void>): Promise<void> {
    let underWay = 20;
    const all = Promise.all(Array.from({ length: underWay }, () => begin().finally(() => (underWay -= 1))));
    all.catch(() => {});
    await until("nobody but those who wait is under way", 10_000, async () => {
      const before = underWay;
      // All ends of all connections live in this loop: who is about to be answered is, within a few of its turns.
      for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
      return this.#held.size > 0 && this.#held.size === underWay && underWay === before;
    });
    for (const timer of [...this.#held]) if (this.#held.delete(timer)) timer.fire();
    await all;
  }

  skip(ms: number): void {
    this.#nowMs += ms;
  }
}
