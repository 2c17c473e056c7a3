import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConntrackState } from "./measure/conntrack.ts";
import { noteLine, Run } from "./run.ts";
import type { GrowthScenario, PairedScenario, Place } from "./scenarios/scenario.ts";
import type { SideName } from "./side.ts";
import { addedOver } from "./scenarios/latency.ts";

const calm: ConntrackState = { entries: 1, max: 100, dropped: 0, insertFailed: 0, earlyDropped: 0 };

/** @param stolen asked before and after each round. */
function scene(
  names: readonly SideName[],
  conntrack: () => ConntrackState = () => calm,
  stolen = () => 0,
  patienceMs = 1,
) {
  const places = names.map((name) => ({ side: { name } }) as Place);
  const run = new Run({
    rounds: 2,
    onStep: () => undefined,
    stolen,
    patienceMs,
    conntrack: async ({ side }) => new Map([[`bench-${side.name}/client`, conntrack()]]),
  });
  return { run, places };
}

function scenario(parts: Partial<PairedScenario>): PairedScenario {
  return { kind: "paired", name: "some", tools: [], scene: "usual", measure: async () => ({}), ...parts };
}

/** @param fails may throw in the middle of a size. */
function curve(calls: string[], fails: () => void = () => undefined): GrowthScenario {
  return {
    kind: "growth",
    name: "some-curve",
    sizes: [10, 100],
    async measure(size) {
      calls.push(`${size}`);
      fails();
      return { "growth-workloads.load": size };
    },
    finish: async () => void calls.push("finish"),
  };
}

test("every side is prepared once, then measured in turn, round by round", async () => {
  const calls: string[] = [];
  const { run, places } = scene(["direct", "ours"]);
  await run.measure(
    scenario({
      prepare: async ({ side }) => void calls.push(`prepare ${side.name}`),
      measure: async ({ side }) => {
        calls.push(side.name);
        return { "bulk-1.rate": calls.length };
      },
      finish: async ({ side }) => void calls.push(`finish ${side.name}`),
    }),
    places,
  );
  const turns = ["direct", "ours", "direct", "ours"];
  assert.deepEqual(calls, ["prepare direct", "prepare ours", ...turns, "finish direct", "finish ours"]);
  assert.deepEqual(run.samples, [
    { figure: "bulk-1.rate", side: "direct", values: [3, 5] },
    { figure: "bulk-1.rate", side: "ours", values: [4, 6] },
  ]);
  assert.deepEqual(run.notes, []);
});

test("what a round's sides only tell together is kept for that round", async () => {
  const p99 = { direct: [1, 2], ours: [1.5, 2.25] };
  const { run, places } = scene(["direct", "ours"]);
  await run.measure(
    scenario({
      measure: async ({ side }) => ({ "latency-200.p99": p99[side.name as "direct" | "ours"].shift() ?? 0 }),
      compare: (round) => addedOver(round, "latency-200"),
    }),
    places,
  );
  const added = run.samples.filter(({ figure }) => figure === "latency-200.p99-added");
  assert.deepEqual(added, [{ figure: "latency-200.p99-added", side: "ours", values: [0.5, 0.25] }]);
});

test("a side that fails has no value in that round, and the others go on", async () => {
  let turn = 0;
  const { run, places } = scene(["ours", "haproxy"]);
  await run.measure(
    scenario({
      measure: async () => {
        turn += 1;
        if (turn === 1) throw new Error("iperf3: unable to connect");
        return { "bulk-1.rate": turn };
      },
    }),
    places,
  );
  assert.deepEqual(
    run.samples.map(({ side, values }) => [side, values]),
    [
      ["haproxy", [2, 4]],
      ["ours", [3]],
    ],
  );
  assert.deepEqual(run.notes.map(noteLine), ["some, ours, round 1: failed: iperf3: unable to connect"]);
});

test("a side that can't be prepared is not measured, and is finished all the same", async () => {
  const calls: string[] = [];
  const { run, places } = scene(["ours"]);
  await run.measure(
    scenario({
      prepare: () => Promise.reject(new Error("nginx: no")),
      measure: async () => (calls.push("measure"), {}),
      finish: async () => void calls.push("finish"),
    }),
    places,
  );
  assert.deepEqual(calls, ["finish"]);
  assert.deepEqual(run.notes.map(noteLine), ["some, ours: failed: nginx: no"]);
});

test("what a side can't have is said once, however many rounds there are", async () => {
  const { run, places } = scene(["direct"]);
  await run.measure(scenario({ measure: async () => ({ notMeasured: "no proxy" }) }), places);
  assert.deepEqual(run.notes.map(noteLine), ["some, direct: not measured: no proxy"]);
});

test("a measurement during which connection tracking dropped, filled or failed to insert voids the run", async () => {
  const states = [calm, calm, calm, { ...calm, insertFailed: 3 }];
  const { run, places } = scene(["ours"], () => states.shift() ?? calm);
  await run.measure(scenario({ measure: async () => ({ "bulk-1.rate": 1 }) }), places);
  assert.deepEqual(run.notes, [
    {
      kind: "void",
      scenario: "some",
      side: "ours",
      round: 2,
      why: "bench-ours/client: connection tracking failed to insert 3 times",
    },
  ]);
});

test("a scenario of ours alone is measured round by round, without a place", async () => {
  const { run } = scene([]);
  await run.measure({ kind: "alone", name: "state", measure: async (round) => ({ "state.load": round }) }, []);
  assert.deepEqual(run.samples, [{ figure: "state.load", side: "ours", values: [1, 2] }]);
});

test("what grows is measured size by size, begins anew each round, and has a value for each size", async () => {
  const { run } = scene([]);
  const calls: string[] = [];
  await run.measure(curve(calls), []);
  assert.deepEqual(calls, ["10", "100", "finish", "10", "100", "finish"]);
  assert.deepEqual(run.samples, [
    { figure: "growth-workloads.load", side: "ours", n: 10, values: [10, 10] },
    { figure: "growth-workloads.load", side: "ours", n: 100, values: [100, 100] },
  ]);
});

test("where a size fails the larger ones of that round are left out, and what there is is put away", async () => {
  const { run } = scene([]);
  const calls: string[] = [];
  const fails = (): void => {
    if (calls.length === 1) throw new Error("too many");
  };
  await run.measure(curve(calls, fails), []);
  assert.deepEqual(calls, ["10", "finish", "10", "100", "finish"]);
  assert.deepEqual(run.notes.map(noteLine), ["some-curve, ours, round 1: failed: too many"]);
});

test("a round during which the host took processors is measured again by all sides, while there is patience, and what it told before is gone", async () => {
  const shares = [0, 0.3, 0, 0.02, 0, 0.5];
  const { run, places } = scene(["ours", "haproxy"], undefined, () => shares.shift() ?? 0);
  let turn = 0;
  const measure = async () => {
    // Longer than there is patience for: the second round is taken as it is.
    for (const until = performance.now() + 2; performance.now() < until;);
    return { "bulk-1.rate": ++turn };
  };
  await run.measure(scenario({ measure }), places);
  assert.deepEqual(
    run.samples.map(({ side, values }) => [side, values]),
    [
      ["ours", [3, 5]],
      ["haproxy", [4, 6]],
    ],
  );
  assert.deepEqual(run.notes.map(noteLine), [
    "some, round 1: disturbed: the host took 30 % of the processors: measured again",
    "some, round 2: disturbed: the host took 50 % of the processors",
  ]);
});

test("a round that the host disturbs is measured three times at most, and one that begins with what the last one left but once", async () => {
  for (const [isCumulative, turns] of [
    [undefined, 6],
    [true as const, 2],
  ] as const) {
    let turn = 0;
    const { run, places } = scene(["ours"], undefined, () => 0.5, 60_000);
    const measure = async () => ({ "bulk-1.rate": ++turn });
    await run.measure(scenario({ measure, ...(isCumulative && { isCumulative }) }), places);
    assert.equal(turn, turns);
    assert.equal(run.samples[0]?.values.length, 2);
  }
});
