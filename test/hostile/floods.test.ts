/** Frames that are each allowed, and that nobody needs so many of. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { ServerScene, echoes } from "./engine-scene.ts";
import { dialPeer } from "./frame-peer.ts";
import { connect, data, errorCodeOf, flags, frame, frameTypes, h2Errors, headers, ping } from "./frames.ts";
import { settings, settingIds, windowUpdate } from "./frames.ts";
import { MeshScene } from "./mesh-scene.ts";
import { onEngines, ownOnly, type EngineTestOptions } from "./on-engines.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

const priority = frame(frameTypes.priority, flags.none, 5, Buffer.from([0, 0, 0, 0, 16]));
const sameWindow = settings([[settingIds.initialWindowSize, 65_535]]);

/** What, the frame, whether the flooder reads what it is answered. */
const floods: readonly (readonly [string, Buffer, EngineTestOptions?])[] = [
  ["PING", ping()],
  ["SETTINGS", sameWindow],
  ["empty DATA", data(1, "")],
  ["PRIORITY", priority, { only: ownOnly }],
  ["frames of unknown type", frame(0x42, flags.none, 0, Buffer.alloc(4)), { only: ownOnly }],
];

for (const [what, one, options = {}] of floods) {
  const row = what === "PING" || what === "SETTINGS" ? "H007" : "H008";
  for (const reading of row === "H007" ? ["reads", "does not read"] : ["reads"]) {
    onEngines(
      `${row} a peer that sends 100,000 ${what} and ${reading} the answers is disconnected`,
      { skip, ...options },
      async (t, engine) => {
        const scene = await MeshScene.open(t, engine);
        const attacker = await scene.attacker();
        await attacker.open(1, scene.authority);
        if (reading !== "reads") attacker.stopReading();
        const handed = await attacker.repeat(100_000, one);
        attacker.readOn();
        await until("the tunnel has gone", 15_000, async () => (await scene.victim.call("meshCounts")).tunnels === 1);
        t.diagnostic(`${handed} frames were handed to the kernel`);
        attacker.destroy();
        if (engine !== "node") await scene.someLine("H2_FLOOD");
        await scene.unharmed(t);
      },
    );
  }
}

onEngines("H007 SETTINGS with 33 entries end the tunnel", { skip }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const attacker = await scene.attacker();
  attacker.send(settings(Array.from({ length: 33 }, (_, index) => [0x100 + index, 1] as const)));
  await attacker.closed;
  await scene.unharmed(t);
});

onEngines("H008 empty HEADERS in a stream that stands are not taken for more of it", { skip }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const attacker = await scene.attacker();
  await attacker.open(1, scene.authority);
  await attacker.flood(2_000, () => headers(1, Buffer.alloc(0)));
  await until("the stream or its tunnel has gone", 10_000, () => scene.openSockets === 1);
  attacker.destroy();
  await scene.unharmed(t);
});

onEngines("H007 H008 an honest peer's pings and window updates are answered", { skip }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const honest = await scene.attacker();
  await honest.open(1, scene.authority);
  for (let round = 0; round < 10; round++) {
    honest.send(ping(), windowUpdate(0, 100), windowUpdate(1, 100));
    await honest.echo(1, `round ${round}`);
  }
  assert.equal(honest.count(frameTypes.ping), 10);
  honest.destroy();
  await scene.unharmed(t);
});

for (const stream of [0, 1]) {
  onEngines(
    `H012 a million WINDOW_UPDATEs by one ${stream === 0 ? "for the connection" : "for a stream"} end the tunnel`,
    { skip, only: ownOnly },
    async (t, engine) => {
      const scene = await MeshScene.open(t, engine);
      const attacker = await scene.attacker();
      await attacker.open(1, scene.authority);
      await attacker.repeat(1_000_000, windowUpdate(stream, 1));
      await attacker.closed;
      await scene.someLine("H2_FLOOD");
      await scene.unharmed(t);
    },
  );
}

onEngines(
  "H012 a window that overflows ends its tunnel, and nothing is left of hundreds of them",
  {},
  async (t, engine) => {
    const scene = await ServerScene.open(t, engine);
    await overflows(scene, 60);
    const { heap: before } = await scene.victim.call("memory");
    await scene.victim.mark();
    await overflows(scene, 400);
    await scene.unharmed(t, { rssMb: 64 });
    const perSession = ((await scene.victim.call("memory")).heap - before) / 400;
    t.diagnostic(`${Math.round(perSession)} octets of heap are left of each`);
    assert.ok(perSession < 8_192, `${perSession} octets are left of each`);
  },
);

onEngines("H013 who goes on after our GOAWAY is cut off", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  const attacker = await scene.attacker();
  attacker.send(connect(1, echoes), frame(frameTypes.data, flags.none, 0, Buffer.from("for nobody")));
  // Never reads, so that our FIN alone would not end it; and never stops.
  attacker.stopReading();
  await attacker.flood(2_000, () => data(1, "still here"));
  await until("the tunnel is gone", 5_000, async () => (await scene.victim.call("counts")).tunnels === 1);
  await scene.unharmed(t);
  attacker.destroy();
});

async function overflows(scene: ServerScene, count: number): Promise<void> {
  for (let done = 0; done < count; done += 20) {
    const peers = await Promise.all(Array.from({ length: 20 }, () => dialPeer({ port: scene.port })));
    for (const peer of peers) peer.send(windowUpdate(0, 0x7fff_ffff));
    const endings = await Promise.all(peers.map((peer) => peer.closed));
    assert.ok(endings.every(({ kind }) => kind === "end"));
    for (const peer of peers) assert.equal(peer.goaway() && errorCodeOf(peer.goaway()!), h2Errors.flowControlError);
  }
}
