import assert from "node:assert/strict";
import { test } from "node:test";
import { figure } from "./figures.ts";
import { rowsOf, type Row } from "./report/rows.ts";
import type { SideName } from "./side.ts";
import { areMet, judge, readTargets, verdictLine, type Target } from "./targets.ts";

/** Rows of one round each. */
function rows(...measured: [figure: string, side: SideName, value: number][]): Row[] {
  return rowsOf(measured.map(([id, side, value]) => ({ figure: id, side, values: [value] })));
}

const cpu: Target = { title: "CPU", parts: [{ figure: "bulk-8.cpu", times: 0.9, peer: "haproxy" }] };
const rate: Target = { title: "rate", parts: [{ figure: "bulk-1.rate", times: 0.85, peer: "haproxy" }] };
const memory: Target = {
  title: "memory",
  parts: [
    { figure: "memory.idle", limit: 115 },
    { figure: "memory.connection", limit: 8 },
  ],
};

test("a target in terms of a peer is that peer's median of the same run", () => {
  const [verdict] = judge([cpu], rows(["bulk-8.cpu", "ours", 1.8], ["bulk-8.cpu", "haproxy", 2]));
  assert(verdict !== undefined);
  assert.equal(verdict.over, 1);
  assert.equal(verdictLine(verdict), "met: CPU: 1.80 CPU-s/GB (≤ 1.80 CPU-s/GB, 0.9 × haproxy)");
});

test("how far a target is missed is told in per cent of it, less or more, as the figure is better", () => {
  const [lower] = judge([cpu], rows(["bulk-8.cpu", "ours", 2.16], ["bulk-8.cpu", "haproxy", 2]));
  assert.match(verdictLine(lower!), /^missed by 20 %: CPU: 2\.16/);
  const [higher] = judge([rate], rows(["bulk-1.rate", "ours", 4.25], ["bulk-1.rate", "haproxy", 6]));
  assert.match(verdictLine(higher!), /^missed by 20 %: rate: 4\.25 Gbit\/s \(≥ 5\.10 Gbit\/s, 0\.85 × haproxy\)$/);
});

test("a target of two parts is as far off as the worse of them", () => {
  const [verdict] = judge([memory], rows(["memory.idle", "ours", 100], ["memory.connection", "ours", 8.4]));
  assert.equal(verdictLine(verdict!), "missed by 5.0 %: memory: 100 MB (≤ 115 MB), 8.40 KB (≤ 8.00 KB)");
  const [met] = judge([memory], rows(["memory.idle", "ours", 100], ["memory.connection", "ours", 8]));
  assert.match(verdictLine(met!), /^met: /);
});

test("less than nothing added is met", () => {
  const target: Target = { title: "p99", parts: [{ figure: "latency-1000.p99-added", limit: 0.5 }] };
  const [verdict] = judge([target], rows(["latency-1000.p99-added", "ours", -0.2]));
  assert.equal(verdict?.over, 0);
});

test("what was not measured, ours or the peer's, is missed", () => {
  const [nothing, noPeer] = [judge([memory], [])[0], judge([cpu], rows(["bulk-8.cpu", "ours", 1]))[0]];
  assert.match(verdictLine(nothing!), /^missed, not measured: memory: memory\.idle not measured \(≤ 115 MB\)/);
  assert.match(verdictLine(noPeer!), /^missed, not measured: CPU/);
  assert.equal(areMet([nothing!]), false);
});

test("two targets of eleven may be missed, by no more than three tenths", () => {
  const verdicts = (...over: number[]) =>
    Array.from({ length: 11 }, (_, i) => ({ target: cpu, parts: [], over: over[i] ?? 0.9 }));
  assert.equal(areMet(verdicts()), true);
  assert.equal(areMet(verdicts(1.3, 1.1)), true);
  assert.equal(areMet(verdicts(1.31)), false);
  assert.equal(areMet(verdicts(1.01, 1.01, 1.01)), false);
});

test("there are eleven targets, of figures that the catalogue has", () => {
  const targets = readTargets();
  assert.equal(targets.length, 11);
  for (const { parts } of targets) for (const part of parts) assert.doesNotThrow(() => figure(part.figure));
});
