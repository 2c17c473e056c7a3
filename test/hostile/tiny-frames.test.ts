/** DATA that costs us more than its sender: by the frame, or before anybody has said that it is wanted. */
import { until } from "../support/until.ts";
import { ServerScene, silent, unread } from "./engine-scene.ts";
import { connect, data } from "./frames.ts";
import { onEngines, ownOnly } from "./on-engines.ts";

for (const streams of [1, 200]) {
  onEngines(
    `H009 4 MiB of one-byte DATA into ${streams === 1 ? "an unread stream" : `${streams} unread streams`} cost no more than they weigh`,
    { only: ownOnly },
    async (t, engine) => {
      const scene = await ServerScene.open(t, engine);
      const attacker = await scene.attacker();
      for (let index = 0; index < streams; index++) await attacker.open(1 + 2 * index, unread);
      await scene.victim.mark();
      await attacker.flood(4 << 20, (index) => data(1 + 2 * (index % streams), "x"));
      const { longestStallMs } = await scene.victim.call("memory");
      t.diagnostic(`closed: ${String(attacker.ending !== undefined)}, longest stall ${longestStallMs} ms`);
      attacker.destroy();
      await scene.unharmed(t);
    },
  );
}

onEngines("H009 an honest stream of small writes is not taken for an attack", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  const honest = await scene.attacker();
  await honest.open(1, "echo:80");
  // What an application that writes byte by byte looks like: each is read before the next few hundred come.
  for (let round = 0; round < 20; round++) {
    const before = honest.received(1).length;
    await honest.flood(500, () => data(1, "x"));
    await honest.frame("what was sent", () => honest.received(1).length === before + 500);
  }
  honest.destroy();
  await scene.unharmed(t);
});

onEngines(
  "H019 of 4 MiB that are sent before our answer at most 64 KiB are held",
  { only: ownOnly },
  async (t, engine) => {
    const scene = await ServerScene.open(t, engine);
    const attacker = await scene.attacker();
    const before = (await scene.victim.call("memory")).buffers;
    attacker.send(connect(1, silent));
    const piece = Buffer.alloc(16 << 10);
    await attacker.flood(256, () => data(1, piece));
    await scene.bystander.echo(1, "meanwhile");
    // What is not held goes, but on a busy machine not always with the first collection.
    const held = await until("all but 64 KiB is collected", 10_000, async () => {
      const { buffers } = await scene.victim.call("memory");
      return buffers - before <= mostHeld && { octets: buffers - before };
    });
    t.diagnostic(`held: ${held.octets} octets`);
    attacker.destroy();
    await scene.unharmed(t);
  },
);

/** 64 KiB, and the buffers that everything is read into. */
const mostHeld = 512 << 10;
