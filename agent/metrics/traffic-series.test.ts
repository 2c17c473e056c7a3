import assert from "node:assert/strict";
import { test } from "node:test";
import { pod } from "../../test/support/mesh.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { Gone } from "./gone.ts";
import { Ledger } from "./ledger.ts";
import { noRows } from "./rows.ts";
import { TrafficSeries } from "./traffic-series.ts";

const from = (claim: string): ConnectionFacts => ({
  direction: "inbound",
  protocol: "hbone",
  trace: "",
  source: { address: "10.0.0.9", port: 1 },
  sourceBaggage: { serviceName: claim },
});

test("H091 a flood of claims ends in one series of the unknown, and those that were there go on", () => {
  const series = new TrafficSeries(100);
  const first = series.of(from("first"), "-", 0);
  for (let i = 0; i < 5_000; i++) series.of(from(`claim-${i}`), "-", 0).opened += 1;
  assert.equal(series.size, 101, "as many as there may be, and one for the rest");
  assert.equal(series.overflows, 5_000 - 99);
  const rest = series.of(from("yet another"), "-", 0);
  assert.equal(rest.opened, 5_000 - 99);
  assert.deepEqual(new Set(rest.labels), new Set(["destination", "unknown", "tcp", "-"]));
  assert.equal(series.of(from("first"), "-", 0), first);
});

test("H091 the main thread has the same limit over all workers, and loses no count by it", () => {
  const ledger = new Ledger(50);
  for (let worker = 0; worker < 4; worker++) {
    const series = new TrafficSeries(100);
    for (let i = 0; i < 40; i++) series.of(from(`worker ${worker} claim ${i}`), "-", 0).opened += 1;
    for (const slice of series.take()) ledger.add(worker, { ...noRows, ...slice });
  }
  assert.equal(ledger.traffic.size, 51);
  assert.equal(
    [...ledger.traffic.values()].reduce((sum, { opened }) => sum + opened, 0),
    160,
  );
});

test("a worker tells a series' labels once and increments after that, and the totals outlive the worker", () => {
  const ledger = new Ledger();
  const series = new TrafficSeries();
  const one = series.of(from("a"), "-", 0);
  const report = (worker: number, of: TrafficSeries): number => {
    let named = 0;
    for (const slice of of.take()) {
      named += slice.named.length;
      ledger.add(worker, { ...noRows, ...slice });
    }
    return named;
  };
  one.opened = 3;
  assert.equal(report(0, series), 1);
  one.opened = 4;
  one.sent = 1e12;
  assert.equal(report(0, series), 0);
  const [total] = ledger.traffic.values();
  assert.deepEqual([total?.opened, total?.sent], [7, 1e12]);
  ledger.forget(0);
  const successor = new TrafficSeries();
  successor.of(from("a"), "-", 0).opened = 1;
  assert.equal(report(0, successor), 1);
  assert.deepEqual([ledger.traffic.size, total?.opened], [1, 8]);
});

test("a series goes when nobody uses it and its workload has left the mesh; one whose workload stays keeps its count", async () => {
  const ledger = new Ledger();
  const series = new TrafficSeries();
  const [stays, goes] = [pod("shop/stays", "10.0.0.1"), pod("shop/goes", "10.0.0.2")];
  for (const sourceWorkload of [stays, goes]) {
    const { sourceBaggage: _, ...facts } = from("");
    series.of({ ...facts, sourceWorkload }, "-", 0).opened += 5;
  }
  const report = (): void => {
    for (const slice of series.take()) ledger.add(0, { ...noRows, ...slice });
  };
  const opened = (): number[] => [...ledger.traffic.values()].map((total) => total.opened);
  report();
  const gone = new Gone();
  await gone.sweep(ledger, [stays]);
  assert.deepEqual(opened(), [5, 5], "the worker may still add to both");
  series.sweep(600_000);
  assert.equal(series.size, 0);
  report();
  await gone.sweep(ledger, [stays, goes]);
  assert.deepEqual(opened(), [5, 5], "both are in the mesh");
  await gone.sweep(ledger, [stays]);
  assert.deepEqual(opened(), [5]);
  const { sourceBaggage: _, ...facts } = from("");
  series.of({ ...facts, sourceWorkload: stays }, "-", 700_000).opened += 1;
  report();
  assert.deepEqual(opened(), [6]);
});

test("what is in use, or has not been reported, is not forgotten however long it is idle", () => {
  const series = new TrafficSeries();
  series.of(from("busy"), "-", 0).users = 1;
  series.of(from("unreported"), "-", 0).opened = 1;
  series.sweep(10_000_000);
  assert.equal(series.size, 2);
});

test("an end of the same workload that control has changed is counted under what it is now", () => {
  const series = new TrafficSeries();
  const { sourceBaggage: _, ...facts } = from("");
  const before = series.of({ ...facts, sourceWorkload: pod("shop/cart", "10.0.0.1") }, "-", 0);
  const after = series.of(
    { ...facts, sourceWorkload: pod("shop/cart", "10.0.0.1", { canonicalRevision: "v2" }) },
    "-",
    0,
  );
  const same = series.of({ ...facts, sourceWorkload: pod("shop/cart", "10.0.0.1") }, "-", 0);
  assert.notEqual(before, after);
  assert.equal(before, same);
});
