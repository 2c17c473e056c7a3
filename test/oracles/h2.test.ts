/** The HTTP/2 machine against node:http2, each as client and as server: both ends must tell the same of every stream. */
import assert from "node:assert/strict";
import http2 from "node:http2";
import { duplexPair } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { suite, test, type TestContext } from "node:test";
import { seededRandom, type Random } from "../../core/base/random.ts";
import type { ConnectionOptions } from "../../core/protocol/h2/connection.ts";
import { NodeEnd } from "./h2-node-end.ts";
import { OwnEnd } from "./h2-own-end.ts";
import { below, complaint, drawPlan, otherRole, type Role, type StreamPlan } from "./h2-plan.ts";

/** One connection between the two. */
interface Run {
  readonly random: Random;
  readonly own: OwnEnd;
  readonly node: NodeEnd;
  readonly ownRole: Role;
}

for (const ownRole of ["client", "server"] as const) {
  suite(`our HTTP/2 ${ownRole} against node:http2`, () => {
    for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
      test(`streams end at both ends as they were ended, with every octet, amid pings and new settings (seed ${seed})`, async (t) => {
        const random = seededRandom(seed);
        const plans = Array.from({ length: 40 }, (_, number) => drawPlan(random, number));
        // Twice what any window has room for: one that leaked would hold it up.
        const last = { number: 40, isConnect: true, chunks: { client: [2_500_000], server: [2_500_000] } };
        const run = connect(t, ownRole, random, [...plans, last]);
        await play(run, plans);
        await play(run, [last]);
        for (const stream of run.own.streams) stream.consumeAll();
        assert.equal(run.own.connection.held, 0);
        assert.equal(run.own.connection.streams, 0);
        assert.ok(run.own.pongs.length > 0);
      });
    }
  });
}

suite("GOAWAY between our HTTP/2 and node:http2", () => {
  test("our server lets the streams that it has taken finish, and refuses those that come after, however often it says so", async (t) => {
    const run = connect(t, "server", seededRandom(1), sixPlans);
    const { own, node } = run;
    for (const plan of sixPlans.slice(0, 3)) node.open(plan);
    await turnUntil(() => own.streams.length === 3, "three requests came");
    own.connection.goaway();
    // These were under way before Node could have heard of it.
    for (const plan of sixPlans.slice(3)) node.open(plan);
    await turnUntil(() => sixPlans.slice(3).every(({ number }) => node.heard.get(number)?.closed === 1), "refused");
    for (const { number } of sixPlans.slice(3)) assert.equal(node.heard.get(number)?.resetWith, refusedStream);
    own.connection.goaway();
    await play(run, sixPlans.slice(0, 3));
    assert.equal(own.streams.length, 3);
    assert.deepEqual(node.goaways, [
      { errorCode: 0, lastStreamId: 5 },
      { errorCode: 0, lastStreamId: 5 },
    ]);
    assert.equal(node.problem, undefined);
  });

  test("our client hears which of its streams Node's server has not looked at, and finishes the others", async (t) => {
    const run = connect(t, "client", seededRandom(1), sixPlans);
    const { own, node } = run;
    for (const plan of sixPlans) own.open(plan);
    await turnUntil(() => node.streams.length === 6, "six requests came");
    node.session.goaway(0, 5);
    await turnUntil(() => own.goaways.length > 0, "our client has heard it");
    assert.deepEqual(own.goaways, [{ lastStreamId: 5, errorCode: 0 }]);
    for (const { number } of sixPlans.slice(3)) assert.equal(own.heard.get(number)?.resetWith, '{"by":"goaway"}');
    await play(run, sixPlans.slice(0, 3));
  });

  test("when the pipe is gone, every stream of ours hears it once", async (t) => {
    const { own, node } = connect(t, "client", seededRandom(1), sixPlans);
    for (const plan of sixPlans) own.open(plan);
    await turnUntil(() => node.streams.length === 6, "six requests came");
    node.session.destroy();
    await turnUntil(() => own.connection.streams === 0, "all streams are closed");
    for (const heard of own.heard.values()) {
      assert.equal(heard.closed, 1);
      assert.notEqual(heard.resetWith, undefined);
    }
  });
});

function connect(t: TestContext, ownRole: Role, random: Random, plans: readonly StreamPlan[]): Run {
  const [theirs, ours] = duplexPair({ highWaterMark: random() < 0.5 ? 1_000 : 65_536 });
  const options: ConnectionOptions = {
    role: ownRole,
    settings: {
      initialWindowSize: 65_535 + below(random, 1_000_000),
      maxFrameSize: 16_384 + below(random, 100_000),
      maxHeaderListSize: 65_536,
      ...(ownRole === "server" && { maxConcurrentStreams: 100 }),
    },
    connectionWindow: 65_535 + below(random, 1_000_000),
  };
  const paddingStrategy = paddings[below(random, paddings.length)] ?? 0;
  const node = new NodeEnd(theirs, otherRole(ownRole), { settings: randomSettings(random), paddingStrategy }, plans);
  const own = new OwnEnd(ours, options, random, plans);
  t.after(() => {
    node.session.destroy();
    ours.destroy();
  });
  return { random, own, node, ownRole };
}

/** Opens the plans' streams that are not, one after the other, and lets everybody do what is due, in random order, until all are over. */
async function play(run: Run, plans: readonly StreamPlan[]): Promise<void> {
  const { random, own, node, ownRole } = run;
  const toOpen = plans.filter(({ number }) => !own.heard.has(number) && !node.heard.has(number));
  for (let turn = 0; !isOver(run, plans); turn++) {
    assert.ok(turn < mostTurns, `stuck: ${stuck(run, plans)}`);
    own.nowMs += 100;
    if (node.problem !== undefined) throw node.problem;
    for (let i = below(random, 8); i >= 0; i--) {
      const next = random() < 0.1 ? toOpen.shift() : undefined;
      if (next !== undefined) (ownRole === "client" ? own : node).open(next);
      const { streams } = random() < 0.5 ? own : node;
      streams[below(random, streams.length)]?.step(random);
    }
    if (turn % 10 === 0) disturb(run);
    await setImmediate();
  }
  for (const plan of plans) {
    for (const [name, end, role] of [
      ["ours", own, ownRole],
      ["node's", node, otherRole(ownRole)],
    ] as const) {
      const wrong = complaint(plan, role, end.heard.get(plan.number)!, end === own);
      assert.equal(wrong, undefined, `${name}: ${JSON.stringify(plan)}`);
    }
  }
}

async function turnUntil(isSo: () => boolean, what: string): Promise<void> {
  for (let turn = 0; !isSo(); turn++) {
    assert.ok(turn < mostTurns, `waited in vain: ${what}`);
    await setImmediate();
  }
}

function disturb({ random, own, node }: Run): void {
  const what = random();
  if (what < 0.2) own.connection.ping(Buffer.alloc(8, below(random, 256)));
  else if (what < 0.4) node.session.ping(Buffer.alloc(8, 7), () => undefined);
  else if (what < 0.6) node.session.settings(randomSettings(random));
}

function isOver({ own, node }: Run, plans: readonly StreamPlan[]): boolean {
  return plans.every(({ number }) => [own, node].every((end) => (end.heard.get(number)?.closed ?? 0) > 0));
}

function stuck({ own, node }: Run, plans: readonly StreamPlan[]): string {
  const open = plans.filter(({ number }) => [own, node].some((end) => !end.heard.get(number)?.closed));
  return JSON.stringify(
    open.map((plan) => ({ plan, own: own.heard.get(plan.number), node: node.heard.get(plan.number) })),
  );
}

function randomSettings(random: Random): { initialWindowSize: number; maxFrameSize: number; headerTableSize: number } {
  return {
    initialWindowSize: random() < 0.3 ? 1 + below(random, 3_000) : 1 + below(random, 1_000_000),
    maxFrameSize: 16_384 + below(random, 50_000),
    headerTableSize: below(random, 5_000),
  };
}

const refusedStream = 7;
const sixPlans: readonly StreamPlan[] = [0, 1, 2, 3, 4, 5].map((number) => ({
  number,
  isConnect: true,
  chunks: { client: [10_000], server: [1, 20_000] },
}));
const mostTurns = 100_000;
const { PADDING_STRATEGY_NONE, PADDING_STRATEGY_MAX } = http2.constants;
const paddings = [PADDING_STRATEGY_NONE, PADDING_STRATEGY_MAX];
