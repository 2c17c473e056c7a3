import assert from "node:assert/strict";
import { test } from "node:test";
import { seededRandom } from "../../../core/base/random.ts";
import { Mess } from "../../../test/sim/stream-mess.ts";

test("whatever is done to streams, what was held is given back, bytes come in order, and each is closed once", () => {
  let [held, handed] = [0, 0];
  for (let seed = 1; seed <= 200; seed++) {
    const mess = new Mess(seededRandom(seed));
    mess.play(250);
    held = Math.max(held, mess.memory.octets);
    if (seed % 3 === 0) mess.calm();
    while (mess.isCalm && mess.carryAll());
    mess.lose();
    mess.expectNothingLeft(seed);
    for (const { readers } of mess.sides) for (const { received } of readers) handed += received;
  }
  assert.ok(held > 10_000 && handed > 1_000_000, `${held} were held, ${handed} handed on`);
});
