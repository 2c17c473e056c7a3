import assert from "node:assert/strict";
import { test } from "node:test";
import { figure, figures } from "./figures.ts";
import { allScenarios } from "./scenarios/all.ts";

test("a figure's id is there once, and begins with a scenario's group", () => {
  const ids = figures.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.match(id, /^[a-z]+(-[a-z0-9]+)*\.[a-z0-9.-]+$/);
  assert.throws(() => figure("nothing.at-all"), /no figure "nothing.at-all"/);
});

test("a scenario's name is there once, and memory is measured before what makes it grow", () => {
  const names = allScenarios().map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  assert.equal(names[0], "memory");
  assert(names.indexOf("memory-after") > names.indexOf("connections"));
});
