import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../core/base/random.ts";
import { Mess } from "../../test/sim/stream-mess.ts";
import type { OwnStream } from "../tunnel/own/own-stream.ts";
import { Relay, type RelayOutcome } from "./relay.ts";

test("a relay between two tunnels ends once, whatever happens in either of them", () => {
  const kinds = { orderly: 0, reset: 0, cut: 0 };
  for (let seed = 1; seed <= 150; seed++) {
    const random = seededRandom(seed);
    const [near, far] = [new Mess(random), new Mess(random)];
    const joints = join(near, far);
    for (let i = 0; i < 300; i++) {
      (random() < 0.5 ? near : far).play(2);
      if (random() < 0.02) joints.relayed[near.below(joints.relayed.length)]?.relay.cut();
    }
    const isQuiet = seed % 3 !== 0;
    for (let round = 0; isQuiet && round < 4; round++) {
      for (const mess of [near, far]) mess.calm();
      while ([near.carryAll(), far.carryAll()].includes(true));
    }
    const isLost = [near, far].some(({ sides }) => sides.some(({ problem }) => problem !== undefined));
    if (isQuiet && !isLost) expectEnded(joints.relayed, seed);
    for (const mess of [near, far]) mess.lose();
    expectEnded(joints.relayed, seed);
    for (const end of joints.waiting) end.reset();
    for (const mess of [near, far]) mess.expectNothingLeft(seed);
    for (const { outcomes } of joints.relayed) kinds[outcomes[0]!.kind] += 1;
  }
  assert.ok(kinds.orderly > 100 && kinds.reset > 100 && kinds.cut > 10, JSON.stringify(kinds));
});

interface Joint {
  readonly relay: Relay;
  readonly outcomes: RelayOutcome[];
}

/** What comes by the near tunnel goes on in the far one. */
function join(near: Mess, far: Mess): { readonly relayed: readonly Joint[]; readonly waiting: readonly OwnStream[] } {
  const relayed: Joint[] = [];
  const waiting: OwnStream[] = [];
  let next = 0;
  near.sides[1].takes = (end) => {
    waiting.push(end);
    far.sides[0].open();
  };
  far.sides[0].takes = (second) => {
    const outcomes: RelayOutcome[] = [];
    const relay = new Relay(waiting[next++]!, second, { relayEnded: (outcome) => outcomes.push(outcome) });
    relayed.push({ relay, outcomes });
    relay.start();
  };
  return { relayed, waiting };
}

function expectEnded(relayed: readonly Joint[], seed: number): void {
  for (const { outcomes } of relayed) assert.equal(outcomes.length, 1, `seed ${seed}`);
}
