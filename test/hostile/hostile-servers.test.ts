/** What a peer's 15008 may do to who connects to it: silence, floods, leaving, answers that are none. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { identityOf, testIdentity } from "../support/identities.ts";
import { root } from "../support/hbone-pair.ts";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { backs, pod, port, service } from "../support/mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { ClientScene, mostRssMb } from "./engine-scene.ts";
import { answer, type ServedTunnel } from "./frame-server.ts";
import { block, continuation, data, flags, frame, frameTypes, goaway, h2Errors, headers, rstStream } from "./frames.ts";
import { settingIds } from "./frames.ts";
import { onEngines, ownOnly } from "./on-engines.ts";
import { carolPort, muteServer, OutboundScene, carolAddress } from "./outbound-scene.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

onEngines("H023 a handshake that is never answered ends after ten seconds", { skip }, async (t, engine) => {
  const scene = await OutboundScene.open(t, engine, { manualClock: true, deadlineMs: 10_000 });
  await muteServer(t, carolAddress, 15_008);
  const number = await scene.dial("hello");
  await until("the tunnel is tried", 5_000, async () => (await scene.victim.call("meshCounts")).connects === 1);
  await scene.victim.call("advanceMesh", { ms: 9_999 });
  assert.equal((await scene.victim.call("dialled", { number })).state, "open");
  // TCP may have come up a little after the first look at the clock.
  await scene.victim.call("advanceMesh", { ms: 2 });
  await scene.refusedWith(number, "TLS_HANDSHAKE_TIMEOUT");
  await scene.unharmed(t);
});

onEngines("H023 a CONNECT that is never answered ends after ten seconds", { skip }, async (t, engine) => {
  const scene = await OutboundScene.open(t, engine, { manualClock: true, deadlineMs: 10_000 });
  const server = await scene.carol(t, {});
  const number = await scene.dial("hello");
  const tunnel = await until("a tunnel", 5_000, () => server.tunnels[0]);
  const { stream } = await tunnel.request();
  await scene.victim.call("advanceMesh", { ms: 9_999 });
  assert.equal((await scene.victim.call("dialled", { number })).state, "open");
  await scene.victim.call("advanceMesh", { ms: 2 });
  await scene.refusedWith(number, "CONNECT_TIMEOUT");
  assert.equal(tunnel.received(stream).length, 0, "nothing was sent before an answer");
  await tunnel.frame("the stream is taken back", (one) => one.type === frameTypes.rstStream);
  server.close();
  await scene.unharmed(t);
});

onEngines("H023 another endpoint is tried before any byte", { skip }, async (t, engine) => {
  const web = service("default/web", "10.96.0.9", [port(80, carolPort)]);
  const services = backs([web, port(80, carolPort)]);
  const deadUid = pod("default/dead", "10.99.0.21", { services });
  const update = { services: [web], workloads: [deadUid, pod("default/carol", carolAddress, { services })] };
  const scene = await OutboundScene.open(t, engine, { update, manualClock: true, deadlineMs: 10_000 });
  await muteServer(t, "10.99.0.21", 15_008);
  const server = await scene.carol(t, { onTunnel: (tunnel) => echoing(tunnel) });
  for (let attempt = 0; attempt < 6; attempt++) {
    const number = await scene.dial("hello", "10.96.0.9", 80);
    const one = await until("an echo", 10_000, async () => {
      await scene.victim.call("advanceMesh", { ms: 100 });
      const dialled = await scene.victim.call("dialled", { number });
      return dialled.length > 0 && dialled;
    });
    assert.equal(one.text, "hello");
  }
  server.close();
  await scene.victim.call("hangUp");
});

/** What nobody asked for, and how much of it is too much. */
const announcements: readonly (readonly [string, number, (tunnel: ServedTunnel) => Buffer])[] = [
  ["interim answers", 10, () => answer(1, "103")],
  ["ALTSVC", 100, () => frame(frameTypes.altsvc, 0, 0, Buffer.from('\0\x01ah2=":443"', "latin1"))],
  ["ORIGIN", 100, () => frame(frameTypes.origin, 0, 0, Buffer.from("\0\x0dhttps://a.com", "latin1"))],
];

for (const [what, most, make] of announcements) {
  onEngines(
    `H024 a server that sends ${what} without end is left by the ${most + 1}th`,
    { only: ownOnly },
    async (t, engine) => {
      const scene = await ClientScene.open(t, engine);
      const outcome = scene.victim.call("openStreams", { count: 1 });
      await scene.tunnel.request();
      await scene.tunnel.repeat(most + 1, make(scene.tunnel));
      await scene.tunnel.closed;
      const [code = ""] = await outcome;
      t.diagnostic(code);
      assert.match(code, /^tunnel\.(abuse|protocol-error)/);
      assert.ok(scene.cost(t).rssMb < mostRssMb);
    },
  );

  onEngines(`H024 a hundred thousand ${what} cost no more than a little`, {}, async (t, engine) => {
    const scene = await ClientScene.open(t, engine);
    void scene.victim.call("openStreams", { count: 1 });
    await scene.tunnel.request();
    await scene.tunnel.repeat(100_000, make(scene.tunnel));
    await scene.victim.call("memory");
    assert.ok(scene.cost(t).rssMb < mostRssMb * 2);
  });
}

const lastIds: readonly (readonly [string, (index: number) => number])[] = [
  ["the highest", () => 0x7fff_ffff],
  ["zero", () => 0],
  ["falling ones", (index) => 0x7fff_ffff - 2 * index],
  ["rising ones", (index) => 1 + 2 * index],
];

for (const [what, last] of lastIds) {
  onEngines(
    `H025 the first of 100,000 GOAWAYs with ${what} as last stream retires the tunnel`,
    {},
    async (t, engine) => {
      const scene = await ClientScene.open(t, engine);
      const outcome = scene.victim.call("openStreams", { count: 1 });
      outcome.catch(() => {});
      await scene.tunnel.request();
      await scene.tunnel.flood(1, () => goaway(last(0)));
      await until("it takes no more streams", 5_000, async () => (await scene.victim.call("tunnel")).room === 0);
      await scene.tunnel.flood(100_000, (index) => goaway(last(index)));
      const { phase, room } = await scene.victim.call("tunnel");
      t.diagnostic(phase);
      assert.equal(room, 0);
      if (what === "zero") assert.match((await outcome)[0] ?? "", /^tunnel\.(stream-refused|lost|abuse)/);
      assert.ok(scene.cost(t).rssMb < mostRssMb);
    },
  );
}

onEngines(
  "H025 a stream that a GOAWAY leaves unprocessed is tried again in another tunnel",
  { skip },
  async (t, engine) => {
    const scene = await OutboundScene.open(t, engine);
    const server = await scene.carol(t, {
      onTunnel: (tunnel) => {
        if (server.tunnels.length > 1) return echoing(tunnel);
        tunnel.greet();
        void tunnel.request().then(() => tunnel.send(goaway(0)));
      },
    });
    const number = await scene.dial("hello");
    const { text } = await scene.outcome(number, ({ length }) => length === 5);
    assert.equal(text, "hello");
    assert.equal(server.tunnels.length, 2);
    server.close();
    await scene.unharmed(t);
  },
);

type Reply = (stream: number) => Buffer;
const replies: readonly (readonly [string, Reply])[] = [
  ["200 and the end at once", (stream) => answer(stream, "200", flags.endHeaders | flags.endStream)],
  ["204", (stream) => answer(stream, "204")],
  ["302", (stream) => answer(stream, "302")],
];
const repliesOfNoKind: readonly (readonly [string, Reply])[] = [
  ["headers without a status", (stream) => headers(stream, block([["grpc-status", "0"]]), flags.endHeaders)],
  ["data before any headers", (stream) => data(stream, "hello")],
  ["64 KB of headers", (stream) => bigAnswer(stream)],
];

for (const [what, reply] of [...replies, ...repliesOfNoKind]) {
  const only = repliesOfNoKind.some(([name]) => name === what) ? { only: ownOnly } : {};
  onEngines(
    `H026 ${what} is no answer to a CONNECT: the application is reset`,
    { skip, ...only },
    async (t, engine) => {
      const scene = await OutboundScene.open(t, engine);
      const server = await scene.carol(t, { onTunnel: (tunnel) => replying(tunnel, reply) });
      await scene.refusedWith(await scene.dial("hello"), "BAD_CONNECT_REPLY");
      server.close();
      await scene.unharmed(t);
    },
  );
}

onEngines("H026 a PUSH_PROMISE ends its tunnel", { skip, only: ownOnly }, async (t, engine) => {
  const scene = await OutboundScene.open(t, engine);
  const promise: Reply = (stream) => frame(frameTypes.pushPromise, flags.endHeaders, stream, Buffer.from([0, 0, 0, 2]));
  const server = await scene.carol(t, { onTunnel: (tunnel) => replying(tunnel, promise) });
  const line = await scene.refusal(await scene.dial("hello"));
  assert.equal(line["reason"], "H2_ERROR");
  server.close();
  await scene.unharmed(t);
});

onEngines(
  "H027 a peer that allows no stream is given up, and the application is reset",
  { skip },
  async (t, engine) => {
    const scene = await OutboundScene.open(t, engine, { deadlineMs: 1_000 });
    const server = await scene.carol(t, {
      onTunnel: (tunnel) => {
        tunnel.greet([[settingIds.maxConcurrentStreams, 0]]);
        // The first may have been sent before that was heard.
        tunnel.onFrame = ({ type, stream }) => {
          if (type === frameTypes.headers) tunnel.send(rstStream(stream, h2Errors.refusedStream));
        };
      },
    });
    const line = await scene.refusal(await scene.dial("hello"));
    t.diagnostic(`${line["reason"]} after ${line["duration"]}, ${server.tunnels.length} tunnels`);
    assert.equal(line["reason"], "NO_STREAM_CAPACITY");
    server.close();
    await scene.unharmed(t);
  },
);

onEngines("H027 a peer that refuses every stream is not asked without end", { skip }, async (t, engine) => {
  const scene = await OutboundScene.open(t, engine, { deadlineMs: 1_000 });
  const refuse: Reply = (stream) => rstStream(stream, h2Errors.refusedStream);
  const server = await scene.carol(t, { onTunnel: (tunnel) => replying(tunnel, refuse) });
  await scene.refusedWith(await scene.dial("hello"), "STREAM_REFUSED");
  const asked = server.tunnels.reduce((sum, tunnel) => sum + tunnel.requests.length, 0);
  t.diagnostic(`${asked} streams in ${server.tunnels.length} tunnels`);
  assert.ok(asked <= 100, `${asked} streams were tried`);
  server.close();
  await scene.unharmed(t);
});

onEngines(
  "H031 a peer that takes bytes and answers nothing is given up after twenty seconds, and only its tunnel stalls",
  { skip },
  async (t, engine) => {
    const dave = testIdentity(root, identityOf("dave"));
    const update = { workloads: [pod("default/dave", "10.99.0.22")] };
    const scene = await OutboundScene.open(t, engine, { manualClock: true, deadlineMs: 10_000, update });
    const stalled = await scene.carol(t, {
      onTunnel: (tunnel) => {
        tunnel.greet();
        void tunnel.request().then(({ stream }) => tunnel.accept(stream));
        tunnel.onFrame = ({ type }) => {
          if (type === frameTypes.data) tunnel.stopReading();
        };
      },
    });
    const fine = await scene.carol(t, { host: "10.99.0.22", identity: dave, onTunnel: (tunnel) => echoing(tunnel) });
    const [lost, kept] = [await scene.dial("hello"), await scene.dial("hello", "10.99.0.22")];
    await scene.outcome(kept, ({ length }) => length === 5);
    await until("the other one stands", 5_000, () => (stalled.tunnels[0]?.count(frameTypes.data) ?? 0) > 0);
    for (let second = 0; second < 32; second++) {
      await scene.victim.call("advanceMesh", { ms: 1_000 });
      // The living one's PONG must have its time.
      if (second === 10 || second === 20)
        await until("a PING is answered", 5_000, () => pings(fine.tunnels[0]) >= second / 10);
    }
    await scene.refusedWith(lost, "PEER_UNREACHABLE");
    await scene.victim.call("write", { number: kept, text: " again" });
    await scene.outcome(kept, ({ text }) => text === "hello again");
    for (const server of [stalled, fine]) server.close();
    await scene.unharmed(t);
  },
);

/** A server as it should be: 200 and an echo for every stream. */
function echoing(tunnel: ServedTunnel): void {
  tunnel.greet();
  tunnel.onFrame = ({ type, stream, payload }) => {
    if (type === frameTypes.headers) tunnel.accept(stream);
    if (type === frameTypes.data && payload.length > 0) tunnel.send(data(stream, payload));
  };
}

/** Answers every CONNECT in its own way. */
function replying(tunnel: ServedTunnel, reply: Reply): void {
  tunnel.greet();
  tunnel.onFrame = ({ type, stream }) => {
    if (type === frameTypes.headers) tunnel.send(reply(stream));
  };
}

function pings(tunnel: ServedTunnel | undefined): number {
  return tunnel?.count(frameTypes.ping) ?? 0;
}

function bigAnswer(stream: number): Buffer {
  const fields = Array.from({ length: 16 }, (_, index) => [`x-${index}`, "y".repeat(4_000)] as const);
  const bytes = block([[":status", "200"], ...fields]);
  const parts = [headers(stream, bytes.subarray(0, 16_384), flags.none)];
  for (let at = 16_384; at < bytes.length; at += 16_384) {
    const isLast = at + 16_384 >= bytes.length;
    parts.push(continuation(stream, bytes.subarray(at, at + 16_384), isLast ? flags.endHeaders : flags.none));
  }
  return Buffer.concat(parts);
}
