import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused } from "../lab/refusals.ts";
import { readOptions } from "./options.ts";

const scenarios = ["memory", "bulk-1", "bulk-8", "growth-pods"];
const read = (...argv: string[]) => readOptions(argv, scenarios);

test("without flags everything is measured at every side, five times", () => {
  const { sides, only, rounds, targets, json, page } = read();
  assert.deepEqual(sides, ["direct", "ours", "haproxy", "envoy", "external"]);
  assert.deepEqual(
    { only, rounds, targets, json, page },
    { only: undefined, rounds: 5, targets: false, json: undefined, page: undefined },
  );
});

test("a quick run is three rounds of three sides, and other flags still say otherwise", () => {
  const { sides, rounds, seconds } = read("--quick");
  assert.deepEqual({ sides, rounds, seconds }, { sides: ["direct", "ours", "haproxy"], rounds: 3, seconds: 3 });
  assert.deepEqual(read("--quick", "--sides", "ours,direct", "--rounds=7").sides, ["direct", "ours"]);
  assert.equal(read("--quick", "--rounds=7").rounds, 7);
});

test("scenarios are chosen by how their names begin", () => {
  assert.deepEqual(read("--only", "bulk").only, ["bulk"]);
  assert.deepEqual(read("--only=bulk-1,memory").only, ["bulk-1", "memory"]);
});

test("a bad flag names itself and what it takes", () => {
  const refusals: [string[], RegExp][] = [
    [["--sides", "ours,ztunnel"], /^--sides takes some of direct,ours,haproxy,envoy,external, not "ztunnel"\.$/],
    [["--only", "bulk,latency"], /^--only takes some of memory,bulk-1,bulk-8.* not "latency"\.$/],
    [["--only="], /^--only takes some of/],
    [["--rounds", "0"], /^--rounds takes a number from 1 to 99, not "0"\.$/],
    [["--seconds", "1.5"], /^--seconds takes a number from 1 to 99, not "1\.5"\.$/],
    [["--workers", "many"], /^--workers takes a number/],
    [["--json="], /^--json takes the name of a file/],
    [["--page", ""], /^--page takes the name of a file/],
    [["--fast"], /--fast.*lists the flags/],
    [["--quick=yes"], /--quick/],
    [["surplus"], /surplus/],
  ];
  for (const [argv, expected] of refusals) {
    assert.throws(
      () => read(...argv),
      (error: unknown) => error instanceof Refused && expected.test(error.message),
      argv.join(" "),
    );
  }
});

test("curves are of ours alone, and measured once: where they are asked for, or nothing else is", () => {
  for (const words of [["--curves"], ["--only", "growth"], ["--curves", "--only", "growth-pods"]]) {
    const { curves, sides, rounds, seconds } = read(...words);
    assert.deepEqual({ curves, sides, rounds, seconds }, { curves: true, sides: ["ours"], rounds: 1, seconds: 2 });
  }
  assert.equal(read("--curves", "--rounds", "3").rounds, 3);
  assert.equal(read("--only", "growth,bulk").curves, false);
  assert.equal(read().curves, false);
});
