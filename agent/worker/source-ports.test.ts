import assert from "node:assert/strict";
import { test } from "node:test";
import { SourcePorts } from "./source-ports.ts";

test("every port comes once before one comes again, and none is of those that kernels give to clients", () => {
  const ports = new SourcePorts(() => 0.999);
  const round = Array.from({ length: 17_304 }, () => ports.next());
  assert.equal(new Set(round).size, round.length);
  assert.equal(ports.next(), round[0]);
  for (const port of round) assert.ok((port >= 20_000 && port < 32_768) || (port > 60_999 && port < 65_536), `${port}`);
});
