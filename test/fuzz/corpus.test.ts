/** Every input that a fuzzer has kept is tried again, and a few new ones. `node test/fuzz/TARGET.ts --runs N` goes on from there. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { seededRandom } from "../../core/base/random.ts";
import { readCorpus } from "./corpus.ts";
import { tryH2 } from "./h2.ts";
import { tryHpack } from "./hpack.ts";
import { mutate } from "./mutate.ts";

for (const [target, tryInput] of [
  ["hpack", tryHpack],
  ["h2", tryH2],
] as const) {
  suite(`fuzzing ${target}`, () => {
    const corpus = readCorpus(target);
    for (const { name, input, outcome } of corpus) {
      test(`${name} comes to what is written in it`, () => assert.equal(tryInput(input).trim(), outcome));
    }

    test("what holds of every input holds of 2,000 others made of them", () => {
      const random = seededRandom(1);
      const inputs = corpus.map(({ input }) => input);
      for (let run = 0; run < 2_000; run++) tryInput(mutate(random, inputs));
    });
  });
}
