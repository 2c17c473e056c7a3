import assert from "node:assert/strict";
import { test } from "node:test";
import { FairQueue } from "./fair-queue.ts";

test("one that floods waits behind itself; another's first job is next but one", async () => {
  const queue = new FairQueue(10_000);
  const order: string[] = [];
  const jobs = Array.from({ length: 1_000 }, async () => queue.run("flooder", () => order.push("flooder")));
  const quiet = queue.run("quiet", () => order.push("quiet"));
  await Promise.all([...jobs, quiet]);
  assert.ok(order.indexOf("quiet") <= 1);
  assert.equal(order.length, 1_001);
});

test("too much of one caller is turned away, and only that", async () => {
  const queue = new FairQueue(2);
  const accepted = Array.from({ length: 5 }, () => queue.run("flooder", () => 1)).filter((job) => job !== undefined);
  assert.equal(accepted.length, 2);
  assert.equal(await queue.run("quiet", () => 2), 2);
  await Promise.all(accepted);
  assert.equal(await queue.run("flooder", () => 3), 3);
});

test("a job that throws is its caller's affair", async () => {
  const queue = new FairQueue(2);
  const failing = queue.run("a", () => {
    throw new Error("oops");
  });
  const other = queue.run("b", () => "fine");
  await assert.rejects(() => failing ?? Promise.resolve(), /oops/);
  assert.equal(await other, "fine");
});
