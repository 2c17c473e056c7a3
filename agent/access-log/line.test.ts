import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { printable } from "../../core/base/printable.ts";
import { JsonLine } from "./line.ts";

test("a line of JSON says each text as it may be printed, whatever it is, and nothing of what is unknown", () => {
  const any = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: "grapheme-ascii" }),
    fc.string({ minLength: 1_100 }),
  );
  fc.assert(
    fc.property(any, fc.option(fc.integer(), { nil: undefined }), (text, number) => {
      const line = new JsonLine({ level: "info", time: "t", scope: "s", message: "m" });
      line.add("text", text);
      line.add("number", number);
      const said: unknown = JSON.parse(line.text());
      const expected = { level: "info", time: "t", scope: "s", message: "m", text: printable(text) };
      assert.deepEqual(said, number === undefined ? expected : { ...expected, number });
    }),
  );
});
