/** Windows that are opened wide by who never reads, and those of ours that nobody drains. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { before } from "node:test";
import type { TestContext } from "node:test";
import type { Socket } from "node:net";
import { application, ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { connect, settingIds, windowUpdate } from "./frames.ts";
import { bobAddress, MeshScene } from "./mesh-scene.ts";
import { onEngines, ownOnly } from "./on-engines.ts";

const skip = enterNamespaces() ?? false;
before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  // So that what nobody reads is held by us, not by the kernel.
  for (const end of ["rmem", "wmem"]) writeFileSync(`/proc/sys/net/ipv4/tcp_${end}`, "4096 32768 65536");
});

for (const streams of [1, 20]) {
  onEngines(
    `H010 who grants windows without end to ${streams} streams and never reads makes the applications wait, and us hold little`,
    { skip },
    async (t, engine) => {
      const scene = await MeshScene.open(t, engine);
      const source = await wellspring(t);
      const attacker = await scene.attacker({ settings: [[settingIds.initialWindowSize, 0x7fff_ffff]] });
      attacker.send(windowUpdate(0, 0x7fff_0000));
      const { buffers: before } = await scene.victim.call("memory");
      attacker.stopReading();
      for (let index = 0; index < streams; index++) attacker.send(connect(1 + 2 * index, source.authority));
      const written = await source.standstill(streams);
      const held = (await scene.victim.call("memory")).buffers - before;
      t.diagnostic(`${written} octets were taken from the applications, ${held} are held`);
      assert.ok(written < streams * (2 << 20), `${written} octets were taken`);
      assert.ok(held <= Math.min(streams * (256 << 10), 4 << 20) + mostBuffers, `${held} octets are held`);
      attacker.destroy();
      await scene.unharmed(t);
    },
  );
}

onEngines(
  "H011 tunnels whose streams nobody drains are held to the memory that there is, and others are told why they are refused",
  { skip, only: ownOnly },
  async (t, engine) => {
    const budget = 32 << 20;
    const scene = await MeshScene.open(t, engine, { settings: { memory: { heap: 2 ** 32, buffers: budget } } });
    const mute = await application(bobAddress, (socket) => socket.pause());
    t.after(mute.close);
    const peers = await Promise.all(Array.from({ length: 24 }, () => scene.attacker()));
    t.after(() => peers.forEach((peer) => peer.destroy()));
    for (const peer of peers) for (const stream of [1, 3, 5, 7]) await peer.open(stream, `${bobAddress}:${mute.port}`);
    let sent = 0;
    for (const peer of peers) for (const stream of [1, 3, 5, 7]) sent += await peer.fill(stream);
    const { buffers } = await scene.victim.call("memory");
    t.diagnostic(`${sent} octets were sent, ${buffers} are held`);
    assert.ok(buffers <= 2 * budget, `${buffers} octets are held`);
    peers[0]!.send(connect(9, scene.authority));
    assert.equal(await peers[0]!.answer(9), 503);
    await scene.lineOf("MEM_PRESSURE");
  },
);

/** An application that sends without end to whoever connects to it. */
async function wellspring(t: TestContext): Promise<{
  readonly authority: string;
  /** Settles when so many have connected and nothing more is taken from them. @returns octets that were taken from all. */
  readonly standstill: (connections: number) => Promise<number>;
}> {
  const sockets: Socket[] = [];
  const piece = Buffer.alloc(64 << 10);
  const { port, close } = await application(bobAddress, (socket) => {
    sockets.push(socket);
    const pour = (): void => {
      while (!socket.destroyed && socket.write(piece)) continue;
    };
    socket.on("drain", pour);
    pour();
  });
  t.after(close);
  const taken = (): number => sockets.reduce((sum, one) => sum + one.bytesWritten - one.writableLength, 0);
  return {
    authority: `${bobAddress}:${port}`,
    standstill: async (connections) => {
      let [last, looks] = [-1, 0];
      await until("nothing more is taken", 20_000, () => {
        looks = sockets.length === connections && taken() === last ? looks + 1 : 0;
        last = taken();
        return looks >= 20;
      });
      return last;
    },
  };
}

/** What everything is read into. */
const mostBuffers = 1 << 20;
