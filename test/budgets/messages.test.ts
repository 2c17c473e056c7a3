/**
 * What a message and a connection cost at both ends of a tunnel together, as far as it can be counted: reads and writes, as the kernel
 * counts them; system calls altogether, where strace is to be had; and octets that are allocated.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { getHeapStatistics } from "node:v8";
import { enterNamespaces } from "../support/namespaced.ts";
import { until } from "../support/until.ts";
import { TwoPods } from "./two-pods.ts";

const skip = enterNamespaces() ?? false;
let pods: TwoPods | undefined;

before(async () => {
  if (skip !== false) return;
  pods = await TwoPods.start();
  // What is made once is made, and code is as it will be.
  await exchange("messages", 2_000);
  await exchange("connections", 500);
});
after(() => pods?.close());

test("a message of 1 KiB and its answer are four reads and four writes", { skip }, async () => {
  const count = 1_000;
  const before = inputOutput();
  await exchange("messages", count);
  const { reads, writes } = inputOutput();
  // Application, tunnel, tunnel, application, and back; a few are other threads'.
  assertWithin((reads - before.reads) / count, 4, 4.3, "reads");
  assertWithin((writes - before.writes) / count, 4, 4.3, "writes");
});

test("a message of 1 KiB and its answer allocate 6.5 KB of heap, at both ends together", { skip }, async () => {
  const each = await allocatedBy((count) => exchange("messages", count), 100);
  // Seen: 5,130.
  assertWithin(each, 500, 6_500, "octets a message");
});

test("a connection with one message allocates 95 KB of heap, at both ends together", { skip }, async () => {
  const each = await allocatedBy((count) => exchange("connections", count), 20);
  // Seen: 79,200, reading both lines of the access log for the test among it.
  assertWithin(each, 5_000, 95_000, "octets a connection");
});

test(
  "a connection with one message is 48 system calls, beside waiting",
  { skip: skip || straceMissing() },
  async () => {
    const strace = spawn("strace", ["-f", "-c", "-U", "calls,name", "-p", String(process.pid)]);
    let text = "";
    strace.stderr.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await until("strace looks on", 10_000, () => text.includes("attached"));
    const count = 200;
    await exchange("connections", count);
    strace.kill("SIGINT");
    await once(strace, "close");
    const calls = callsOf(text);
    // How often a thread waits depends on who else wants the processor.
    const waiting = ["epoll_pwait", "futex", "madvise", "munmap", "mmap", "mprotect"];
    const each =
      calls.filter(({ name }) => !waiting.includes(name)).reduce((sum, { count: of }) => sum + of, 0) / count;
    // Seen: 41, of which 10 are reads, 8 writes and 5 changes of what is polled for.
    assertWithin(each, 20, 48, `system calls a connection (${text})`);
  },
);

/** Octets for each of them, on average: the median of many rounds, in most of which the collector leaves things alone. */
async function allocatedBy(act: (count: number) => Promise<void>, count: number): Promise<number> {
  const rounds: number[] = [];
  while (rounds.length < 25) {
    const before = getHeapStatistics().used_heap_size;
    await act(count);
    const octets = getHeapStatistics().used_heap_size - before;
    if (octets > 0) rounds.push(octets / count);
  }
  return rounds.sort((one, other) => one - other)[rounds.length >> 1] ?? Number.NaN;
}

/** proc_pid_io(5): calls of read(2), write(2) and their like, of all threads. */
function inputOutput(): { readonly reads: number; readonly writes: number } {
  const text = readFileSync("/proc/self/io", "utf8");
  const of = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(text)?.[1]);
  return { reads: of("syscr"), writes: of("syscw") };
}

function callsOf(text: string): { readonly name: string; readonly count: number }[] {
  return [...text.matchAll(/^\s*(\d+) (\w+)$/gm)].flatMap(([, count, name = ""]) =>
    name === "total" ? [] : [{ name, count: Number(count) }],
  );
}

function assertWithin(value: number, least: number, most: number, what: string): void {
  assert.ok(value >= least && value <= most, `${value.toFixed(2)} ${what}, not ${least} to ${most}`);
}

function straceMissing(): string | false {
  return spawnSync("strace", ["-V"]).status === 0 ? false : "strace is not there to count system calls";
}

async function exchange(kind: "messages" | "connections", count: number): Promise<void> {
  await pods?.exchange(kind, count);
}
