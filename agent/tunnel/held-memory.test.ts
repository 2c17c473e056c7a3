import assert from "node:assert/strict";
import { test } from "node:test";
import { HeldMemory } from "./held-memory.ts";

test("memory is short from a half on, until it is a quarter again, and never more than all of it", () => {
  const memory = new HeldMemory(100);
  assert.ok(memory.hold(50));
  assert.ok(!memory.isShort);
  assert.ok(memory.hold(1));
  assert.ok(memory.isShort);
  assert.ok(!memory.hold(50));
  assert.equal(memory.octets, 51);
  memory.release(25);
  assert.ok(memory.isShort);
  memory.release(1);
  assert.ok(!memory.isShort);
});
