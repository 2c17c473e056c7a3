import assert from "node:assert/strict";
import { test } from "node:test";
import { curvesOf } from "../growth/curves.ts";
import { figures } from "../figures.ts";
import type { SideName } from "../side.ts";
import { judge, readTargets } from "../targets.ts";
import { curveTable } from "./curve-table.ts";
import { renderPage } from "./page.ts";
import type { Report } from "./report.ts";
import { rowsOf } from "./rows.ts";
import { heading, table } from "./table.ts";

const sides: readonly SideName[] = ["direct", "ours", "haproxy", "envoy", "external"];
const samples = figures.flatMap(({ id }, i) =>
  sides.map((side, j) => ({ figure: id, side, values: [i * 3 + j - 1, (i + 1) * (j + 1) * 7.77, 5_000 * j] })),
);
const rows = rowsOf(samples);
const curves = curvesOf(
  [1_000, 5_000, 10_000].flatMap((n) => [
    { figure: "growth-workloads.load", side: "ours" as const, n, values: [n / 1_000, n / 500, n / 2_000] },
    { figure: "growth-workloads.memory", side: "ours" as const, n, values: [0] },
  ]),
);
const report: Report = {
  machine: { cores: 2, processor: '<Some> & "Other" CPU', memoryBytes: 8 * 2 ** 30, kernel: "6.18.1", node: "v24.0.0" },
  startedAt: "2030-01-01T12:00",
  rounds: 3,
  seconds: 4,
  workers: 2,
  sides,
  rows,
  curves,
  notes: ["latency-200, ours, round 1: failed: it's <broken>"],
  verdicts: judge(readTargets(), rows),
};

/** Every element is closed in its order; what stands between them is escaped. */
function assertWellFormed(page: string): void {
  const open: string[] = [];
  const withoutStyle = page.replace(/<style>[^<]*<\/style>/, "").replace(/^<!doctype html>\n/, "");
  const tags = /<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?: [a-zA-Z0-9-]+="[^"<>]*")*)(\/?)>/g;
  for (const [, closing, name = "", , empty] of withoutStyle.matchAll(tags)) {
    if (empty === "/") continue;
    if (closing === "/") assert.equal(open.pop(), name, `</${name}> closes something else`);
    else open.push(name);
  }
  assert.deepEqual(open, []);
  const text = withoutStyle.replace(tags, "");
  assert(!/[<>]/.test(text), "a tag that isn't one");
  assert(!/&(?!(?:amp|lt|gt|quot|#39);)/.test(text), "an ampersand that isn't escaped");
}

test("the page is well-formed, whatever stands in names and notes", () => {
  assertWellFormed(renderPage(report));
  assertWellFormed(renderPage({ ...report, rows: [], curves: [], verdicts: [], notes: [] }));
});

test("the page fetches nothing and runs nothing: it opens from disk", () => {
  const page = renderPage(report);
  assert(!/https?:|\/\/[a-z]|src=|href=|@import|url\(|<script|<link/i.test(page));
});

test("every chart says in words what it shows, and every number stands in a table, too", () => {
  const page = renderPage(report);
  const charts = page.match(/<svg [^>]*role="img"/g) ?? [];
  // A curve of which nothing lies above nought has no place on logarithmic axes; its numbers are there.
  assert.equal(charts.length, figures.length + curves.length - 1);
  assert.match(page, /<desc [^>]*>1,000: 1\.00 s, 5,000: 5\.00 s, 10,000: 10\.0 s\.<\/desc>/);
  assert.match(page, /loading them <span>s, grows with n\^1\.00<\/span>/);
  const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
  assert.equal(new Set(ids).size, ids.length, "an id twice");
  for (const [, names = ""] of page.matchAll(/aria-labelledby="([^"]+)"/g))
    for (const id of names.split(" ")) assert(ids.includes(id), `${id} is not there`);
  assert.equal(page.match(/<td>(direct|ours|haproxy|envoy|external)<\/td>/g)?.length, rows.length);
  assert(!page.includes("NaN"));
});

test("the page says where it was measured, and how targets were met", () => {
  const page = renderPage(report);
  assert(page.includes("2 cores (&lt;Some&gt; &amp; &quot;Other&quot; CPU), 8 GiB, Linux 6.18.1, Node v24.0.0"));
  assert.match(page, /Targets: \d+ of 11 met/);
  assert(page.includes("it&#39;s &lt;broken&gt;"));
});

test("a curve is a line of the table, with the power with which it grows at its end", () => {
  const lines = curveTable(curves).trimEnd().split("\n");
  assert.match(lines[0] ?? "", /^Growth over workloads +1,000 +5,000 +10,000 +unit +grows with$/);
  assert.match(lines[1] ?? "", /^loading them +1\.00 +5\.00 +10\.0 +s +n\^1\.00$/);
  assert.match(lines[2] ?? "", /^RSS .* MB +-$/);
});

test("the table has a line for each figure and side, numbers beneath each other", () => {
  const lines = table(rows).trimEnd().split("\n");
  assert.equal(lines.length, 1 + rows.length);
  assert.match(lines[1] ?? "", /^bulk, 1 stream \(higher is better\) +direct +/);
  assert.match(heading(report), /^2 cores .*\n3 rounds of 4 s, 2 workers, 2030-01-01 12:00 UTC\ndirect \(no mesh\), /);
});
