import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LineSplitter } from "./lines.ts";

test("lines come out whole, wherever the bytes were cut", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "grapheme" })), fc.array(fc.nat(20)), (texts, sizes) => {
      const lines = texts.map((text) => text.replaceAll("\n", "")).filter((text) => text !== "");
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const splitter = new LineSplitter(10_000);
      const found: (string | undefined)[] = [];
      let at = 0;
      for (const size of [...sizes, bytes.length]) {
        found.push(...splitter.push(bytes.subarray(at, at + size)));
        at = Math.min(bytes.length, at + size);
      }
      assert.deepEqual(found, lines);
    }),
  );
});

test("a line that is too long is reported, and the next one is well", () => {
  const splitter = new LineSplitter(8);
  assert.deepEqual(splitter.push(Buffer.from("12345")), []);
  assert.deepEqual(splitter.push(Buffer.from("67890")), []);
  assert.deepEqual(splitter.push(Buffer.from("rest\ngood\n12345678\n123456789\n")), [
    undefined,
    "good",
    "12345678",
    undefined,
  ]);
});

test("what has no end yet is no line", () => {
  const splitter = new LineSplitter(8);
  assert.deepEqual(splitter.push(Buffer.from("\n\nhalf")), []);
});
