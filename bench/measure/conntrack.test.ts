import assert from "node:assert/strict";
import { test } from "node:test";
import { conntrackOf, parseConntrack, voidedBy, type ConntrackState } from "./conntrack.ts";

const heading =
  "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart";
const row = (entries: string, insertFailed: string, drop: string, earlyDrop: string): string =>
  `${entries}  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 ${insertFailed} ${drop} ${earlyDrop} 00000000  00000000 00000000 00000000 00000000`;

test("counters of all CPUs are added up, and the entries, which all of them tell, are not", () => {
  const text = [
    heading,
    row("000000ff", "00000001", "00000002", "0000000a"),
    row("000000ff", "00000003", "00000000", "00000000"),
    "",
  ];
  assert.deepEqual(parseConntrack(text.join("\n"), "262144\n"), {
    entries: 255,
    max: 262_144,
    insertFailed: 4,
    dropped: 2,
    earlyDropped: 10,
  });
});

test("a namespace without connection tracking, or a kernel that says no maximum, is no problem", async () => {
  assert.equal(parseConntrack(""), undefined);
  assert.equal(parseConntrack("some other file\n"), undefined);
  const text = `${heading}\n${row("00000001", "00000000", "00000000", "00000000")}\n`;
  const readProc = async (path: string): Promise<string> => {
    if (path === "/proc/net/stat/nf_conntrack") return text;
    throw new Error("no such file");
  };
  assert.equal((await conntrackOf({ readProc }))?.max, undefined);
  assert.equal(await conntrackOf({ readProc: () => Promise.reject(new Error("no such file")) }), undefined);
});

const calm: ConntrackState = { entries: 10, max: 100, dropped: 7, insertFailed: 0, earlyDropped: 0 };

test("what connection tracking lost before a measurement does not void it, and what it loses meanwhile does", () => {
  assert.equal(voidedBy(calm, { ...calm, entries: 99 }), undefined);
  assert.equal(voidedBy(calm, undefined), undefined);
  assert.equal(voidedBy(calm, { ...calm, dropped: 9 }), "connection tracking dropped 2 times");
  assert.equal(voidedBy(undefined, { ...calm, dropped: 1 }), "connection tracking dropped 1 times");
  assert.equal(voidedBy(calm, { ...calm, insertFailed: 3 }), "connection tracking failed to insert 3 times");
  assert.equal(voidedBy(calm, { ...calm, earlyDropped: 1 }), "connection tracking evicted early 1 times");
});

test("a table that is full voids what was measured, dropped or not", () => {
  assert.equal(voidedBy(calm, { ...calm, entries: 100 }), "connection tracking was full (100 of 100)");
});
