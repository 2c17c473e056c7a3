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

test("after a port that somebody has comes one from elsewhere: the next ones are probably theirs, too", () => {
  const places = [0, 0.5, 0.25];
  const ports = new SourcePorts(() => places.shift() ?? 0);
  const first = ports.next();
  ports.wasTaken();
  assert.ok(Math.abs(ports.next() - first) > 8_000);
});

test("where no port is free few are tried, and all eight again once one was", () => {
  const ports = new SourcePorts(() => 0.5);
  const tries = Array.from({ length: 5 }, () => {
    ports.ended("none-free");
    return ports.tries;
  });
  assert.deepEqual(tries, [4, 2, 1, 1, 1]);
  ports.ended("connected");
  assert.equal(ports.tries, 8);
});
