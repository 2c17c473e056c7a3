import assert from "node:assert/strict";
import { release } from "node:os";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { preferredTurn, preferTurnsOf } from "./scheduling.ts";

const [major = 0, minor = 0] = release().split(".").map(Number);
const isKnown = major > 6 || (major === 6 && minor >= 12);

test("a thread that prefers short turns has them, and the others of its process don't", async () => {
  const module = JSON.stringify(import.meta.resolve("./scheduling.ts"));
  const before = preferredTurn();
  const script = `import(${module}).then(({ preferTurnsOf, preferredTurn }) => {
    const failed = preferTurnsOf(100_000);
    require("node:worker_threads").parentPort.postMessage(failed?.message ?? preferredTurn());
  });`;
  const worker = new Worker(script, { eval: true });
  const told = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  assert.equal(typeof told, "number");
  if (isKnown) assert.equal(told, 100_000);
  assert.deepEqual(preferredTurn(), before);
  await worker.terminate();
});

test("it can be taken back", () => {
  const before = preferredTurn();
  assert.equal(typeof before, "number");
  assert.equal(preferTurnsOf(200_000), undefined);
  if (isKnown) assert.equal(preferredTurn(), 200_000);
  assert.equal(preferTurnsOf(before as number), undefined);
  assert.deepEqual(preferredTurn(), before);
});
