import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Interned } from "./interned.ts";

test("whatever is asked for in whichever order, the answer is what the octets mean", () => {
  const words = fc.array(fc.oneof(fc.constantFrom("", "a", "b", "ab"), fc.string({ unit: "binary", maxLength: 5 })));
  fc.assert(
    fc.property(words, fc.constantFrom(4, 8, 64), (asked, size) => {
      const table = new Interned(size, (octets, start, end) => ({ hex: octets.toString("hex", start, end) }));
      for (const word of asked) {
        const octets = Buffer.from(`<${word}>`);
        assert.equal(table.of(octets, 1, octets.length - 1).hex, Buffer.from(word).toString("hex"));
      }
    }),
    { numRuns: 500 },
  );
});

test("what has been asked for before is the same object, for as many as there is room", () => {
  const table = new Interned(1_024, (octets, start, end) => [octets.toString("latin1", start, end)]);
  const all = Array.from({ length: 200 }, (_, at) => Buffer.from(`value ${at}`));
  const first = all.map((octets) => table.of(octets, 0, octets.length));
  const again = all.map((octets) => table.of(octets, 0, octets.length));
  const kept = again.filter((value, at) => value === first[at]).length;
  assert.ok(kept >= 195, `${kept} of 200`);
});

test("equal octets have one hash wherever they stand", () => {
  const table = new Interned(4, () => undefined);
  table.of(Buffer.from("..shop"), 2, 6);
  const { hash } = table;
  table.of(Buffer.from("shop"), 0, 4);
  assert.equal(table.hash, hash);
});
