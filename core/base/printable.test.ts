import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { printable } from "./printable.ts";

test("H093 whatever a stranger sends becomes one line without a control character, at most 1 KiB, and harmless text stays", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 3_000 }), (text) => {
      const shown = printable(text);
      assert.ok(shown.length <= 1_024);
      assert.ok(shown.isWellFormed());
      assert.doesNotMatch(shown, /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/);
    }),
  );
  for (const text of ["", "10.0.0.1:80", "größe 日本 😀", "x".repeat(1_024)]) assert.equal(printable(text), text);
  assert.equal(printable("\u001b[2J\r\n"), "\\u001b[2J\\u000d\\u000a");
  assert.equal(printable("x".repeat(1_025)), `${"x".repeat(1_023)}…`);
});
