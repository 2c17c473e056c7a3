import assert from "node:assert/strict";
import { test } from "node:test";
import { plain, renderRows } from "./render.ts";
import type { Row } from "./rows.ts";

const row: Row = {
  client: "shop/client-1",
  target: "server.shop:80",
  outcome: { kind: "hbone", identity: "spiffe://cluster.local/ns/shop/sa/client" },
  servedBy: "shop/server-1",
  ms: 1,
  requests: 12,
  predicted: { kind: "plaintext" },
  asPredicted: false,
};

test("a difference from what was decided is said in words", () => {
  assert.match(
    renderRows([row], plain),
    /NO: plaintext +HBONE as spiffe:\/\/cluster\.local\/ns\/shop\/sa\/client +shop\/server-1/,
  );
});

test("a table never wraps and never scrolls, whatever room there is", () => {
  for (const columns of [20, 80, 120]) {
    for (const lines of [2, 5, 24]) {
      const drawn = renderRows(
        Array.from({ length: 10 }, () => row),
        plain,
        { columns, lines },
      )
        .trimEnd()
        .split("\n");
      assert.ok(drawn.length <= lines, `${drawn.length} lines`);
      assert.ok(drawn.every((line) => line.length <= columns));
    }
  }
});
