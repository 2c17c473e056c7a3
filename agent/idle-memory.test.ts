import assert from "node:assert/strict";
import { test } from "node:test";
import { IdleMemory, restOfThread } from "./idle-memory.ts";

const megabyte = 1 << 20;

test("a thread that has nothing to do gives memory back once, and not again before it has grown", () => {
  const thread = new Thread(20 * megabyte);
  thread.rests(20);
  assert.deepEqual([thread.given, thread.held], [1, 10 * megabyte]);
  thread.works(3);
  thread.rests(20);
  assert.equal(thread.given, 1, "there was nothing to give");
  thread.works(3);
  thread.held = 18 * megabyte;
  thread.rests(20);
  assert.equal(thread.given, 2);
});

test("a thread at work is not stopped, and neither is one that rests for a moment", () => {
  const thread = new Thread(20 * megabyte);
  for (let round = 0; round < 10; round++) {
    thread.rests(4);
    thread.works(1);
  }
  assert.equal(thread.given, 0);
  thread.rests(5);
  assert.equal(thread.given, 1);
});

test("after a large push the first moment of rest will do, once", () => {
  const thread = new Thread(10 * megabyte);
  thread.rests(20);
  const before = thread.given;
  thread.works(1);
  thread.isDone();
  thread.works(2);
  assert.equal(thread.given, before);
  thread.rests(1);
  assert.equal(thread.given, before + 1);
  thread.rests(20);
  assert.equal(thread.given, before + 1);
});

test("while other threads are at work they are not made to wait for memory: that comes when they rest", () => {
  const thread = new Thread(20 * megabyte);
  thread.othersRest = false;
  thread.rests(20);
  assert.deepEqual([thread.given, thread.trimmed], [1, 0]);
  thread.othersRest = true;
  thread.rests(20);
  assert.deepEqual([thread.given, thread.trimmed], [1, 1]);
});

/** What an idle thread is asked and told. */
class Thread {
  held: number;
  given = 0;
  trimmed = 0;
  othersRest = true;
  #isAtRest = true;
  readonly #memory: IdleMemory;

  constructor(held: number) {
    this.held = held;
    this.#memory = new IdleMemory({
      isAtRest: () => this.#isAtRest,
      isProcessAtRest: () => this.#isAtRest && this.othersRest,
      held: () => this.held,
      collect: () => {
        this.given += 1;
        this.held = 10 * megabyte;
      },
      trim: () => (this.trimmed += 1),
    });
  }

  /** The end of a push. */
  isDone(): void {
    this.#memory.muchIsOver();
  }

  rests(looks: number): void {
    this.#isAtRest = true;
    for (let look = 0; look < looks; look++) this.#memory.look();
  }

  works(looks: number): void {
    this.#isAtRest = false;
    for (let look = 0; look < looks; look++) this.#memory.look();
  }
}

test("a thread is at rest while it waits, and not while it reckons", () => {
  const isAtRest = restOfThread();
  assert.equal(isAtRest(), true);
  let sum = 0;
  // Processor time, whoever else wants some.
  for (const until = used() + 30_000; used() < until;) sum += 1;
  assert.ok(sum > 0);
  assert.equal(isAtRest(), false);
  assert.equal(isAtRest(), true);
});

function used(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
