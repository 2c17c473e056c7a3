import assert from "node:assert/strict";
import { test } from "node:test";
import { IdleMemory } from "./idle-memory.ts";

const megabyte = 1 << 20;

test("a thread that has nothing to do gives memory back once, and not again before it has grown", () => {
  const thread = new Thread(20 * megabyte);
  thread.looks(20, 1);
  assert.deepEqual([thread.given, thread.held], [1, 10 * megabyte]);
  thread.looks(3, 500);
  thread.looks(20, 1);
  assert.equal(thread.given, 1, "there was nothing to give");
  thread.looks(3, 500);
  thread.held = 18 * megabyte;
  thread.looks(20, 1);
  assert.equal(thread.given, 2);
});

test("a thread at work is not stopped, and neither is one that rests for a moment", () => {
  const thread = new Thread(20 * megabyte);
  for (let round = 0; round < 10; round++) {
    thread.looks(4, 1);
    thread.looks(1, 20);
  }
  assert.equal(thread.given, 0);
  thread.looks(5, 1);
  assert.equal(thread.given, 1);
});

/** What an idle thread is asked and told. */
class Thread {
  held: number;
  given = 0;
  #busyMs = 0;
  readonly #memory: IdleMemory;

  constructor(held: number) {
    this.held = held;
    this.#memory = new IdleMemory({
      busyMs: () => this.#busyMs,
      held: () => this.held,
      giveBack: () => {
        this.given += 1;
        this.held = 10 * megabyte;
      },
    });
  }

  /** @param busyMs at work between one look and the next. */
  looks(count: number, busyMs: number): void {
    for (let look = 0; look < count; look++) {
      this.#busyMs += busyMs;
      this.#memory.look();
    }
  }
}
