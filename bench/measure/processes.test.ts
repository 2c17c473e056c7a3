import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { cpuSeconds, family, parseCpuTicks, parseResident, residentBytes } from "./processes.ts";

test("CPU is what a process and those it waited for used, in user and in system mode, however it is called", () => {
  const stat =
    "42 (a (b) c) S 1 42 42 0 -1 4194560 100 200 0 0 7 5 20 3 20 0 11 0 999 1000 200 18446744073709551615 1 1";
  assert.equal(parseCpuTicks(stat), 7 + 5 + 20 + 3);
});

test("memory is read from the pages that were walked, or from the counters where that is all there is", () => {
  assert.equal(parseResident("00400000-7ff [rollup]\nRss:               12345 kB\nPss:   1 kB\n"), 12345 * 1024);
  assert.equal(parseResident("Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    8 kB\nThreads:\t1\n"), 8 * 1024);
  assert.equal(parseResident("Name:\tzombie\n"), 0);
});

test("a family is those that were named and all below them, whatever the order and however deep", () => {
  const all = [
    { pid: 9, parent: 8 },
    { pid: 8, parent: 2 },
    { pid: 2, parent: 1 },
    { pid: 3, parent: 1 },
  ];
  assert.deepEqual(family([2], all).sort(), [2, 8, 9]);
  assert.deepEqual(family([2, 9], all).length, 3);
});

test("what a child used is counted after it has ended, and a process that has gone is no cheap one", () => {
  const before = cpuSeconds([process.pid]);
  const burn = "while (process.cpuUsage().user < 100_000);";
  const { pid } = spawnSync(process.execPath, ["-e", burn]);
  assert(cpuSeconds([process.pid]) - before >= 0.09);
  assert.throws(() => cpuSeconds([pid]), /has ended/);
  assert.throws(() => residentBytes([pid]), /has ended/);
  assert(residentBytes([process.pid]) > 10e6);
});
