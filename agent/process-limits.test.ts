import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, openSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { descriptorLimit, openDescriptors, shareOfMemory } from "./process-limits.ts";
import { VitalSigns } from "./vital-signs.ts";
import { AcceptGate, type GateReason } from "./worker/accept-gate.ts";
import type { MemoryState } from "./worker/memory-watch.ts";

test("F-004 the soft limit of descriptors is the hard one by the time an agent looks", () => {
  const module = JSON.stringify(join(import.meta.dirname, "process-limits.ts"));
  const script = `const { descriptorLimit } = await import(${module}); process.stdout.write(String(descriptorLimit()));`;
  const node = [process.execPath, "--input-type=module", "-e", script];
  assert.equal(String(execFileSync("prlimit", ["--nofile=256:1024", ...node])), "1024");
  assert.ok(descriptorLimit() > 0);
});

test("H101 descriptors are counted as the kernel counts them", () => {
  const before = openDescriptors();
  const opened = Array.from({ length: 10 }, () => openSync("/dev/null", "r"));
  assert.equal(openDescriptors(), before + 10);
  // Reading the folder takes one itself.
  assert.equal(readdirSync("/proc/self/fd").length, before + 11);
  opened.forEach(closeSync);
});

test("H101 at nine tenths of the descriptors every worker stops accepting, and begins again below", () => {
  const signs = new VitalSigns(2);
  const said: (GateReason | undefined)[] = [];
  const gateOf = (index: number): AcceptGate =>
    new AcceptGate({ index, signs, memory: { look: () => "fine" }, onChange: (reason) => said.push(reason) });
  const [first, second] = [gateOf(0), gateOf(1)];
  first.accepted();
  assert.equal(first.closed, undefined, "before anybody has counted nothing is limited");
  signs.counted(860, 1_000);
  for (let connection = 0; connection < 19; connection++) first.accepted();
  assert.deepEqual([first.closed, said], [undefined, []]);
  first.accepted();
  assert.deepEqual([first.closed, said], ["FD_LIMIT", ["FD_LIMIT"]]);
  // The other one sees it with its own next connection, or its next look.
  second.look();
  assert.equal(second.closed, "FD_LIMIT");
  signs.counted(860, 1_000);
  for (const gate of [first, second]) gate.look();
  assert.deepEqual(said, ["FD_LIMIT", "FD_LIMIT"], "not back and forth at the edge");
  signs.counted(849, 1_000);
  for (const gate of [first, second]) gate.look();
  assert.deepEqual(said, ["FD_LIMIT", "FD_LIMIT", undefined, undefined]);
});

test("H103 a worker whose memory is used up accepts no more until it has room again", () => {
  let memory: MemoryState = "full";
  const said: (GateReason | undefined)[] = [];
  const gate = new AcceptGate({
    index: 0,
    signs: undefined,
    memory: { look: () => memory },
    onChange: (reason) => said.push(reason),
  });
  assert.equal(gate.look(), "full");
  memory = "hopeless";
  assert.equal(gate.look(), "hopeless");
  memory = "fine";
  gate.look();
  assert.deepEqual(said, ["MEM_PRESSURE", undefined]);
});

test("H103 memory is shared out among the workers, with something left for the rest", () => {
  const gigabyte = 2 ** 30;
  const { heap, buffers } = shareOfMemory(gigabyte, 2);
  assert.deepEqual([heap, buffers], [192 * 2 ** 20, 192 * 2 ** 20]);
  assert.equal(shareOfMemory(2 ** 45, 2).heap, 4 * gigabyte);
  assert.equal(shareOfMemory(64 * 2 ** 20, 8).heap, 64 * 2 ** 20, "less would not even start");
});
