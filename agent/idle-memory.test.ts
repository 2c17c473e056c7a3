import assert from "node:assert/strict";
import { test } from "node:test";
import { IdleMemory, restOfThread, type Collected } from "./idle-memory.ts";

const megabyte = 1 << 20;

test("a thread that has nothing to do gives memory back once, and not again before it has grown", () => {
  const thread = new Thread(20 * megabyte);
  thread.shortly = "all";
  thread.rests(20);
  assert.deepEqual([thread.collected, thread.held], [["all"], 10 * megabyte]);
  thread.works(3);
  thread.rests(20);
  assert.deepEqual(thread.collected, ["all"], "there was nothing to give");
  thread.works(3);
  thread.held = 18 * megabyte;
  thread.rests(20);
  assert.deepEqual(thread.collected, ["all", "all"]);
});

test("whoever has code to lose collects what is young, and all that is left of a load when nobody has wanted anything for a minute", () => {
  const thread = new Thread(20 * megabyte);
  thread.rests(59);
  assert.deepEqual(thread.collected, ["young"]);
  thread.works(3);
  thread.held = 30 * megabyte;
  thread.rests(59);
  assert.deepEqual(thread.collected, ["young", "young"]);
  thread.rests(60);
  assert.deepEqual(thread.collected, ["young", "young", "all"]);
  assert.equal(thread.held, 10 * megabyte);
  thread.works(3);
  thread.rests(70);
  assert.equal(thread.collected.length, 3, "there was nothing to give");
});

test("where code is in use meanwhile, all that nobody refers to is collected at once", () => {
  const thread = new Thread(20 * megabyte);
  thread.shortly = "old";
  thread.rests(120);
  assert.deepEqual(thread.collected, ["old"], "after that there was nothing to give");
});

test("a thread at work is not stopped, and neither is one that rests for a moment", () => {
  const thread = new Thread(20 * megabyte);
  for (let round = 0; round < 10; round++) {
    thread.rests(4);
    thread.works(1);
  }
  assert.deepEqual(thread.collected, []);
  thread.rests(5);
  assert.deepEqual(thread.collected, ["young"]);
});

test("after a large push the first moment of rest will do, once", () => {
  const thread = new Thread(10 * megabyte);
  thread.rests(20);
  thread.works(1);
  thread.isDone();
  thread.works(2);
  assert.deepEqual(thread.collected, ["young"]);
  thread.rests(1);
  assert.deepEqual(thread.collected, ["young", "all"]);
  thread.rests(20);
  assert.deepEqual(thread.collected, ["young", "all"]);
});

test("while other threads are at work they are not made to wait for memory: that comes when they rest", () => {
  const thread = new Thread(20 * megabyte);
  thread.othersRest = false;
  thread.rests(20);
  assert.deepEqual([thread.collected.length, thread.trimmed], [1, 0]);
  thread.othersRest = true;
  thread.rests(20);
  assert.deepEqual([thread.collected.length, thread.trimmed], [1, 1]);
});

test("all is collected where no other thread is at work, which would have to share its processor, or after a minute", () => {
  const afterPush = new Thread(20 * megabyte);
  afterPush.othersRest = false;
  afterPush.isDone();
  afterPush.rests(59);
  assert.deepEqual(afterPush.collected, []);
  afterPush.othersRest = true;
  afterPush.rests(1);
  assert.deepEqual(afterPush.collected, ["all"]);

  const idle = new Thread(20 * megabyte);
  idle.shortly = "all";
  idle.othersRest = false;
  idle.rests(59);
  assert.deepEqual(idle.collected, []);
  idle.rests(1);
  assert.deepEqual(idle.collected, ["all"]);
  idle.rests(100);
  assert.deepEqual(idle.collected, ["all"]);
});

/** What an idle thread is asked and told. */
class Thread {
  held: number;
  readonly collected: Collected[] = [];
  trimmed = 0;
  othersRest = true;
  shortly: Collected = "young";
  #isAtRest = true;
  readonly #memory: IdleMemory;

  constructor(held: number) {
    this.held = held;
    this.#memory = new IdleMemory({
      atShortRest: () => this.shortly,
      isAtRest: () => this.#isAtRest,
      isProcessAtRest: () => this.#isAtRest && this.othersRest,
      held: () => this.held,
      collect: (what) => {
        this.collected.push(what);
        this.held = what === "young" ? this.held - 5 * megabyte : 10 * megabyte;
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
