import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../render/failure.ts";
import { pickLab } from "./lab.ts";

const a = { name: "a", pid: 1 };
const b = { name: "b", pid: 2 };

test("the only lab is meant without a name, and a named one among several", () => {
  assert.equal(pickLab([a], undefined), a);
  assert.equal(pickLab([a, b], "b"), b);
});

test("an unknown name is answered with the names there are", () => {
  assert.equal(
    said([a, b], "c"),
    "No lab of yours is named c.\n  Running here: a, b. Say --lab with one of these names.\n",
  );
});

test("where none runs, how to start one is said", () => {
  assert.equal(
    said([], undefined),
    "No lab of yours runs on this machine.\n  Start one in another terminal: npm start\n",
  );
  assert.match(said([], "c"), /named c: none runs/);
});

test("one of several must be chosen", () => {
  assert.equal(said([a, b], undefined), "Several labs run: a, b.\n  Say which one with --lab NAME.\n");
  assert.match(said([a, { ...a, pid: 3 }], "a"), /2 labs are named a/);
});

function said(labs: Parameters<typeof pickLab>[0], name: string | undefined): string {
  try {
    pickLab(labs, name);
  } catch (thrown) {
    if (thrown instanceof Failure) return thrown.render();
    throw thrown;
  }
  return "";
}
