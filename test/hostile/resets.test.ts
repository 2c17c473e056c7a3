/** Streams that are opened to be reset, by the peer or by us because the peer breaks a rule. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { ServerScene, silent } from "./engine-scene.ts";
import { connect, data, errorCodeOf, flags, frameTypes, h2Errors, rstStream, windowUpdate } from "./frames.ts";
import { MeshScene } from "./mesh-scene.ts";
import { onEngines, ownOnly } from "./on-engines.ts";

const skip = enterNamespaces() ?? false;
before(() => (skip === false ? ownAddresses() : undefined));

onEngines(
  "H001 a peer that opens and resets 100,000 streams is disconnected, and every connection made for it is undone",
  { skip },
  async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    const handed = await attacker.flood(100_000, (index) =>
      Buffer.concat([connect(1 + 2 * index, scene.authority), rstStream(1 + 2 * index)]),
    );
    await attacker.closed;
    const lines = await scene.victim.call("log", {});
    t.diagnostic(`${handed} pairs were handed to the kernel, ${lines.length} streams were seen`);
    assert.ok(lines.length <= 1_200, `${lines.length} streams were seen`);
    if (engine !== "node") await scene.someLine("H2_RESET_FLOOD");
    await scene.unharmed(t, { rssMb: withApplications });
  },
);

onEngines("H001 five hundred streams that are taken back are nothing unusual", { skip }, async (t, engine) => {
  const scene = await MeshScene.open(t, engine);
  const honest = await scene.attacker();
  let stream = -1;
  for (let round = 0; round < 10; round++) {
    await honest.flood(50, () => Buffer.concat([connect((stream += 2), scene.authority), rstStream(stream)]));
    await honest.open((stream += 2), scene.authority);
    await honest.echo(stream, "still here");
    honest.send(rstStream(stream));
  }
  honest.destroy();
  await scene.unharmed(t, { rssMb: withApplications });
});

onEngines("H001 a hundred thousand resets cost next to nothing", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  const attacker = await scene.attacker();
  await attacker.flood(100_000, (index) => Buffer.concat([connect(1 + 2 * index, silent), rstStream(1 + 2 * index)]));
  await attacker.closed;
  const { streams, abandoned } = await scene.victim.call("counts");
  assert.ok(streams <= 1_200, `${streams} streams were seen`);
  assert.equal(abandoned, streams - 1, "all but the bystander's are given up");
  await scene.unharmed(t);
});

/** What makes us reset a stream that stands. */
const faults = [
  ["a window that grows by nothing", (stream: number) => windowUpdate(stream, 0)],
  ["a window that overflows", (stream: number) => windowUpdate(stream, 0x7fff_ffff)],
  [
    "DATA after END_STREAM",
    (stream: number) => Buffer.concat([data(stream, "", flags.endStream), data(stream, "after")]),
  ],
] as const;

for (const [what, fault] of faults) {
  onEngines(
    `H002 a peer that makes us reset its streams by ${what} is disconnected by the hundredth, and no application connection survives`,
    { skip, only: ownOnly },
    async (t, engine) => {
      const scene = await MeshScene.open(t, engine);
      const attacker = await scene.attacker();
      for (let index = 0; index <= 150 && attacker.ending === undefined; index++) {
        attacker.send(connect(1 + 2 * index, scene.authority), fault(1 + 2 * index));
      }
      await attacker.closed;
      assert.equal(attacker.goaway() && errorCodeOf(attacker.goaway()!), h2Errors.enhanceYourCalm);
      await scene.someLine("H2_RESET_FLOOD");
      await scene.unharmed(t);
    },
  );
}

for (const [what, fault] of faults) {
  onEngines(`H002 no application connection survives a stream that ended by ${what}`, { skip }, async (t, engine) => {
    const scene = await MeshScene.open(t, engine);
    const attacker = await scene.attacker();
    await attacker.open(1, scene.authority);
    attacker.send(fault(1));
    await until("its application connection has gone", 5_000, () => scene.openSockets === 1);
    attacker.destroy();
    await scene.unharmed(t);
  });

  onEngines(
    `H002 a stream that ended by ${what} leaves the others of its tunnel alone`,
    { skip, only: ownOnly },
    async (t, engine) => {
      const scene = await MeshScene.open(t, engine);
      const attacker = await scene.attacker();
      await attacker.open(1, scene.authority);
      await attacker.open(3, scene.authority);
      attacker.send(fault(1));
      assert.ok((await attacker.frame("the reset", ({ type }) => type === frameTypes.rstStream)).stream === 1);
      await attacker.echo(3, "the other stands");
      attacker.destroy();
      await scene.unharmed(t);
    },
  );
}

/** A thousand connections to the application, with their records, are not what is to be measured here. */
const withApplications = 64;
