import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../render/failure.ts";
import { askAll, configDump, inForce, type Agent } from "./agent.ts";

const agent = (name: string, node: string, isEnding = false): Agent => ({
  name,
  node,
  isEnding,
  get: () => Promise.resolve({ workloads: [] }),
  lines: async function* () {},
});

test("an agent that is ending counts only until its successor is there", () => {
  const [old, next, other] = [agent("old", "node1", true), agent("next", "node1"), agent("last", "node2", true)];
  assert.deepEqual(inForce([old, next, other]), [next, other]);
});

test("one agent's failure is kept beside the others' answers; a bug is thrown", async () => {
  const failure = new Failure("no", "ask again");
  const silent = { ...agent("b", "node2"), get: () => Promise.reject(failure) };
  const { answers, missing } = await askAll([agent("a", "node1"), silent], configDump);
  assert.deepEqual(
    answers.map(({ answer }) => answer),
    [{ workloads: [], certificates: [] }],
  );
  assert.deepEqual(
    missing.map((one) => one.failure),
    [failure],
  );
  const bug = new TypeError("bug");
  await assert.rejects(
    askAll([agent("a", "node1")], () => Promise.reject(bug)),
    bug,
  );
});

test("an answer that is no dump is refused", async () => {
  for (const answer of [null, 17, "text", {}, { workloads: "none" }]) {
    await assert.rejects(configDump({ ...agent("a", "node1"), get: () => Promise.resolve(answer) }), Failure);
  }
});
