/** More streams than we allow, and streams that come when we are leaving. */
import assert from "node:assert/strict";
import { until } from "../support/until.ts";
import { echoes, ServerScene, silent } from "./engine-scene.ts";
import {
  connect,
  errorCodeOf,
  frameTypes,
  h2Errors,
  lastStreamOf,
  rstStream,
  settingIds,
  settingOf,
} from "./frames.ts";
import { onEngines, ownOnly } from "./on-engines.ts";

onEngines(
  "H020 each of 10,000 streams beyond the limit is refused as never looked at, and the two hundred within it go on",
  { only: ownOnly },
  async (t, engine) => {
    const scene = await ServerScene.open(t, engine);
    const attacker = await scene.attacker();
    const allowed = settingOf(attacker.serverSettings!, settingIds.maxConcurrentStreams);
    assert.equal(allowed, 200);
    for (let index = 0; index < 200; index++) await attacker.open(1 + 2 * index, echoes);
    await attacker.flood(10_000, (index) => connect(401 + 2 * index, echoes));
    const refused = (): number =>
      attacker.count(frameTypes.rstStream, (one) => errorCodeOf(one) === h2Errors.refusedStream);
    await until("all are refused", 10_000, () => refused() === 10_000);
    for (const index of [0, 100, 199]) await attacker.echo(1 + 2 * index, `stream ${index}`);
    const { streams } = await scene.victim.call("counts");
    assert.equal(streams, 201, "nobody was asked about the others");
    attacker.destroy();
    await scene.unharmed(t);
  },
);

onEngines("H020 room that becomes free can be used again", {}, async (t, engine) => {
  const scene = await ServerScene.open(t, engine);
  const honest = await scene.attacker();
  for (let index = 0; index < 200; index++) honest.send(connect(1 + 2 * index, silent));
  await until("all are with us", 5_000, async () => (await scene.victim.call("counts")).streams === 201);
  for (let index = 0; index < 200; index++) honest.send(rstStream(1 + 2 * index));
  await until("all are taken back", 5_000, async () => (await scene.victim.call("counts")).abandoned === 200);
  await honest.open(401, echoes);
  honest.destroy();
  await scene.unharmed(t);
});

onEngines(
  "H020 a stream that is opened after our last GOAWAY is not looked at, and the open ones go on",
  {},
  async (t, engine) => {
    const scene = await ServerScene.open(t, engine);
    const peer = await scene.attacker();
    await peer.open(1, echoes);
    await scene.victim.call("retire");
    const last = await peer.frame("the GOAWAY that says which stream was the last", (one) => {
      return one.type === frameTypes.goaway && lastStreamOf(one) < 0x7fff_ffff;
    });
    assert.equal(lastStreamOf(last), 1);
    const { streams } = await scene.victim.call("counts");
    peer.send(connect(3, echoes));
    await peer.echo(1, "the open one goes on");
    assert.equal((await scene.victim.call("counts")).streams, streams);
    assert.ok(!peer.frames.some((one) => one.stream === 3 && one.type === frameTypes.headers));
    peer.destroy();
  },
);
