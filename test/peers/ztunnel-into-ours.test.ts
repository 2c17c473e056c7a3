/** The client's half of every recorded conversation with ztunnel, said again to a whole worker of ours: what we answer. */
import assert from "node:assert/strict";
import { afterEach, before, suite, test } from "node:test";
import { engines } from "../support/engines.ts";
import { ownAddresses } from "../support/loopback-mesh.ts";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { applicationOf, echo, greetAndEcho, sayGoodbye, sayOne } from "./recorded-applications.ts";
import { isRecorded, noted, ownRecordedAddresses, recordings, type Recorded } from "./recorded.ts";
import { inboundAfter, inboundOutcomes, type Outcome } from "./recorded-outcomes.ts";
import { Stage } from "./recorded-stage.ts";

const skip = enterNamespaces() ?? false;

before(async () => {
  if (skip !== false) return;
  await ownAddresses();
  await ownRecordedAddresses();
});

for (const engine of engines)
  suite(`ztunnel's words into our ${engine} engine`, () => {
    let stage: Stage | undefined;
    afterEach(() => stage?.close());

    for (const recorded of recordings("as-client").filter(isRecorded)) {
      const expected = inboundAfter(recorded.server ?? "");
      test(`what ztunnel said as a client: ${recorded.case}`, { skip }, async () => {
        const plays = { ...(expected.status === undefined ? { 9_999: applicationOf(recorded.server) ?? echo } : {}) };
        stage = await Stage.open(engine, plays, expected.status === 401 ? 9_999 : 8_090);
        await play(stage, recorded, expected);
      });
    }

    for (const recorded of recordings("as-server")) {
      const expected = inboundOutcomes[recorded.case] ?? { status: 0, reason: "not listed" };
      test(`what was said to ztunnel as a server: ${recorded.case}`, { skip }, async () => {
        stage = await Stage.open(engine, { 8_080: greetAndEcho, 8_081: sayGoodbye, 8_082: sayOne }, 8_090);
        await play(stage, recorded, expected);
        const status = noted(recorded, "response")?.[":status"] ?? 200;
        assert.equal(expected.status ?? 200, Number(status), "ztunnel's own status");
      });
    }
  });

async function play(stage: Stage, recorded: Recorded, expected: Outcome): Promise<void> {
  const { peer } = stage;
  await stage.replay(recorded);
  await until("our answer", 5_000, () => peer.head(1));
  assert.equal(peer.head(1)?.get(":status"), String(expected.status ?? 200));
  await until("all of our data", 5_000, () => peer.data(1) === (expected.data ?? ""));
  if (expected.end === "reset") {
    await until("our RST_STREAM", 5_000, () => peer.resetCode(1) !== undefined);
    assert.deepEqual([peer.resetCode(1), peer.hasEnded(1)], [10, false]);
  } else if (expected.end === undefined || expected.end === "ended")
    await until("our END_STREAM", 5_000, () => peer.hasEnded(1));
  if (expected.application !== undefined) await stage.heard[0]?.becomes(expected.application);
  const line = await stage.mesh.line("inbound");
  assert.equal(line["reason"], expected.reason);
  assert.equal(line["src.identity"], "spiffe://cluster.local/ns/default/sa/a");
  const { traceparent } = noted(recorded, "request headers") ?? {};
  if (traceparent !== undefined) assert.equal(line["trace"], String(traceparent).split("-")[1]);
  // Whatever became of the stream, its tunnel lives, unless it is we who go.
  if (stage.isDraining) await until("the end of the tunnel", 5_000, () => peer.isEnded);
  else await peer.ping("0102030405060708");
}
