import assert from "node:assert/strict";
import { test } from "node:test";
import { readFlags } from "./flags.ts";

test("without flags the demo runs on two nodes, in both families, until it is told to end", () => {
  const { lab, check } = readFlags([]);
  assert.equal(check, undefined);
  assert.deepEqual([lab.nodes, lab.families, lab.workers], [2, "46", 2]);
});

test("the check may be told what to break, and to answer as JSON", () => {
  assert.deepEqual(readFlags(["--check", "--json", "--break", "mtls"]).check, { json: true, broken: "mtls" });
});

test("a bad flag names itself and what it takes", () => {
  const cases: [string[], RegExp][] = [
    [["--families", "5"], /--families takes 4, 6 or 46, not "5"/],
    [["--nodes", "0"], /--nodes takes a number from 1 to 254/],
    [["--workers", "many"], /--workers takes a number/],
    [["--components", "cni,envoy"], /--components takes some of control,cni,agent, not "envoy"/],
    [["--check", "--break", "all"], /--break takes one of redirect, mtls, policy, identity, source, not "all"/],
    [["--break", "mtls"], /--json and --break go with --check/],
    [["--check", "--nodes", "3"], /leave --nodes out/],
    [["--unknown"], /--unknown/],
  ];
  for (const [argv, sentence] of cases) assert.throws(() => readFlags(argv), sentence);
});
