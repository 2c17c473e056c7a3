import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { mergeByTime } from "./merge-lines.ts";

test("sequences in order become one sequence in order that has everything", async () => {
  const sequence = fc.array(fc.nat(50)).map((numbers) => numbers.sort((a, b) => a - b));
  await fc.assert(
    fc.asyncProperty(fc.array(sequence, { maxLength: 5 }), async (sequences) => {
      const merged: number[] = [];
      const timeOf = (number: number): string => String(number).padStart(3, "0");
      for await (const item of mergeByTime(sequences.map(iterated), timeOf)) merged.push(item);
      assert.deepEqual(
        merged,
        sequences.flat().sort((a, b) => a - b),
      );
    }),
  );
});

async function* iterated<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}
