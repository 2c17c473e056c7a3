import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../core/base/clock.ts";
import type { ToWorker } from "../worker-messages.ts";
import { Collector } from "./collector.ts";
import { Ledger } from "./ledger.ts";
import { noRows, type MetricRows } from "./rows.ts";

const closed = (value: number): MetricRows => ({
  ...noRows,
  counters: [{ name: "ambientd_connections_ended", labels: ["source", "OK"], value }],
});

function collecting(workers = 2) {
  const clock = new ManualClock();
  const ledger = new Ledger();
  const asked: number[] = [];
  const broadcast = (message: ToWorker): void => {
    if (message.kind === "metrics") asked.push(message.id);
  };
  const collector = new Collector({ clock, ledger, broadcast, workers: () => workers });
  const total = (): number =>
    [...ledger.counter("ambientd_connections_ended")].reduce((sum, { value }) => sum + value, 0);
  return { clock, collector, asked, total };
}

test("a collection is over when every worker has said its last slice, and is shared by all who ask meanwhile", async () => {
  const { collector, asked, total } = collecting();
  const both = Promise.all([collector.collect(true), collector.collect(true)]);
  assert.deepEqual(asked, [1]);
  collector.receive(0, 1, closed(1), false);
  collector.receive(0, 1, closed(2), true);
  collector.receive(1, 1, closed(4), true);
  await both;
  assert.equal(total(), 7);
  const next = collector.collect(true);
  assert.deepEqual(asked, [1, 2]);
  collector.receive(0, 2, noRows, true);
  collector.receive(1, 2, noRows, true);
  await next;
});

test("a worker that is too busy is waited for no longer than a second, and what it says then still counts", async () => {
  const { clock, collector, total } = collecting();
  const collected = collector.collect(true);
  collector.receive(0, 1, closed(1), true);
  clock.advance(1_000);
  await collected;
  assert.equal(total(), 1);
  collector.receive(1, 1, closed(5), true);
  assert.equal(total(), 6);
});

test("a worker that dies keeps no scrape waiting, and takes nothing back that it had told", async () => {
  const { collector, total } = collecting();
  const collected = collector.collect(true);
  collector.receive(0, 1, closed(1), true);
  collector.receive(1, 1, closed(2), false);
  collector.lost(1);
  await collected;
  assert.equal(total(), 3);
});

test("without workers there is nothing to wait for", async () => {
  await collecting(0).collector.collect(true);
});
