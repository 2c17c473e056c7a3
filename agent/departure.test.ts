import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { ManualClock } from "../core/base/clock.ts";
import { silentLog } from "../core/base/log.ts";
import { Departure, type TerminationDeadlines } from "./departure.ts";
import type { ToWorker } from "./worker-messages.ts";

let clock: ManualClock;
let sent: ToWorker[];
let hasSuccessor: boolean;
let gone: number;
let over: boolean;

beforeEach(() => {
  clock = new ManualClock();
  [sent, hasSuccessor, gone, over] = [[], false, 0, false];
});

test("F-225 F-227 relieved by a successor it gives everything up at once, and lives until the last connection has ended", async () => {
  hasSuccessor = true;
  const departure = begin({ relievedMs: undefined, aloneMs: 5_000, lateMs: 10_000 });
  await settled();
  assert.deepEqual(sent, [{ kind: "drain", deadlineMs: undefined }]);
  assert.equal(gone, 1);
  await passed(90 * 86_400_000);
  departure.heard("drained", 0);
  await settled();
  assert.equal(over, false);
  departure.heard("drained", 1);
  await settled();
  assert.equal(over, true);
});

test("F-225 a configured deadline holds for the relieved, too", async () => {
  hasSuccessor = true;
  begin({ relievedMs: 3_595_000, aloneMs: 25_000, lateMs: 10_000 });
  await settled();
  assert.deepEqual(sent, [{ kind: "drain", deadlineMs: 3_595_000 }]);
  await passed(3_595_000 + 1_000);
  assert.equal(over, true);
});

test("F-224 alone it serves on until those that were open have ended", async () => {
  const departure = begin({ relievedMs: undefined, aloneMs: 25_000, lateMs: 10_000 });
  await settled();
  assert.deepEqual(sent, [{ kind: "last-orders" }]);
  for (const worker of [0, 1]) departure.heard("earlier-ended", worker);
  await passed(100);
  assert.equal(gone, 1);
  assert.equal(sent[1]?.kind, "drain");
});

test("F-225 alone it ends by its short deadline, and leaves the last of it to who came meanwhile", async () => {
  begin({ relievedMs: 3_595_000, aloneMs: 25_000, lateMs: 10_000 });
  await passed(23_900);
  assert.equal(gone, 0);
  await passed(200);
  assert.deepEqual(sent.at(-1), { kind: "drain", deadlineMs: 1_000 });
  await passed(2_000);
  assert.equal(over, true);
});

test("F-224 F-225 alone it has all of a long grace period for what was open, and little for who came meanwhile", async () => {
  const departure = begin({ relievedMs: 3_595_000, aloneMs: 3_595_000, lateMs: 10_000 });
  await passed(3_000_000);
  assert.deepEqual(sent, [{ kind: "last-orders" }]);
  for (const worker of [0, 1]) departure.heard("earlier-ended", worker);
  await passed(100);
  assert.deepEqual(sent.at(-1), { kind: "drain", deadlineMs: 10_000 });
  await passed(11_000);
  assert.equal(over, true);
});

test("a successor that comes while it waits relieves it, with all the time that it has then", async () => {
  begin({ relievedMs: undefined, aloneMs: 25_000, lateMs: 10_000 });
  await passed(10_000);
  hasSuccessor = true;
  await passed(200);
  assert.deepEqual(sent.at(-1), { kind: "drain", deadlineMs: undefined });
  await passed(1_000_000);
  assert.equal(over, false);
});

test("H103 a worker that is lost meanwhile has nothing left", async () => {
  hasSuccessor = true;
  const departure = begin({ relievedMs: undefined, aloneMs: 5_000, lateMs: 10_000 });
  await settled();
  departure.workerLost(0);
  departure.heard("drained", 1);
  await settled();
  assert.equal(over, true);
});

test("asked twice it departs once", async () => {
  const departure = begin({ relievedMs: undefined, aloneMs: 5_000, lateMs: 10_000 });
  assert.equal(departure.begin("SIGTERM"), undefined);
  await settled();
  assert.equal(sent.length, 1);
});

function begin(deadlines: TerminationDeadlines): Departure {
  const departure = new Departure({
    clock,
    log: silentLog,
    deadlines,
    workers: () => 2,
    broadcast: (message) => sent.push(message),
    store: { sayServing: () => {}, hasSuccessor: () => Promise.resolve(hasSuccessor) },
    sharesPorts: false,
    letGo: () => (gone += 1),
  });
  void departure.begin("test")?.then(() => (over = true));
  return departure;
}

/** In steps: each may end in a question that is answered before the next. */
async function passed(ms: number): Promise<void> {
  const steps = Math.min(400, Math.ceil(ms / 100));
  for (let step = 0; step < steps; step++) {
    await settled();
    clock.advance(ms / steps);
  }
  await settled();
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}
