import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { systemClock } from "../core/base/clock.ts";
import { until } from "../test/support/until.ts";
import { SupervisedProcess, type ProcessRow, type RestartPolicy } from "./processes.ts";

const idle = "setInterval(() => {}, 1000)";

test("a process that dies is started again, at once the first time and later with growing pauses", async (t) => {
  const { rows } = supervise(t, "process.exit(3)", "always");
  await until("three pauses", 15_000, () => pauses(rows).length >= 3);
  const [first, second, third] = pauses(rows) as [number, number, number];
  assert.equal(first, 0);
  assert.ok(second >= 180 && second <= 220, String(second));
  assert.ok(third >= 360 && third <= 440, String(third));
});

test("a job that succeeded is not started again, one that failed is", async (t) => {
  const done = supervise(t, "process.exit(0)", "on-failure");
  const failing = supervise(t, "process.exit(1)", "on-failure");
  assert.deepEqual((await until("the end", 5_000, () => ended(done.process))).last, { how: "exit 0", success: true });
  await until("a restart", 10_000, () => failing.process.row().restarts > 0);
});

test("a killed process comes back under another id", async (t) => {
  const { process } = supervise(t, idle, "always");
  const before = pidOf(process);
  process.act("kill");
  await until("another id", 5_000, () => pidOf(process) !== undefined && pidOf(process) !== before);
  assert.equal(process.row().restarts, 1);
});

test("a stopped process stays down until it is continued", async (t) => {
  const { process } = supervise(t, idle, "always");
  process.act("stop", "SIGKILL");
  await until("held", 5_000, () => process.row().state.phase === "held");
  assert.deepEqual(process.row().state, { phase: "held", last: { how: "signal SIGKILL", success: false } });
  process.act("cont");
  assert.equal(process.row().state.phase, "running");
});

test("a process that is continued while it still ends is started again when it has", async (t) => {
  const script = `process.on("SIGTERM", () => setTimeout(() => process.exit(0), 100)); console.log("up"); ${idle}`;
  const { process, log, rows } = supervise(t, script, "always");
  await until("the handler", 5_000, () => log().includes("up"));
  const before = pidOf(process);
  process.act("stop");
  process.act("cont");
  await until("another id", 5_000, () => pidOf(process) !== undefined && pidOf(process) !== before);
  assert.ok(!rows.some(({ state }) => state.phase === "held"));
});

test("closing waits for the end, and kills what does not listen", async (t) => {
  const { process, log } = supervise(t, `process.on("SIGTERM", () => {}); console.log("up"); ${idle}`, "always");
  await until("the handler", 5_000, () => log().includes("up"));
  await process.close(50);
  assert.deepEqual(process.row().state, { phase: "held", last: { how: "signal SIGKILL", success: false } });
});

test("children of a process end with it", async (t) => {
  const { process, log } = supervise(
    t,
    `console.log(require("child_process").spawn("sleep", ["1000"]).pid); ${idle}`,
    "never",
  );
  const child = Number(await until("the child", 5_000, () => /^\d+\n/.test(log()) && log()));
  process.act("kill");
  await until("the child's end", 5_000, () => !isRunning(child));
});

test("a program that is not there is named in the log", async (t) => {
  const { process, log } = supervise(t, "", "never", ["no-such-program"]);
  await until("the end", 5_000, () => ended(process));
  assert.match(log(), /no-such-program/);
});

function supervise(t: TestContext, script: string, restart: RestartPolicy, argv = [process.execPath, "-e", script]) {
  const folder = mkdtempSync(join(tmpdir(), "processes-"));
  const logFile = join(folder, "log");
  const rows: ProcessRow[] = [];
  const supervised = new SupervisedProcess(
    { name: "x", argv, env: { PATH: process.env["PATH"] ?? "" }, cwd: "/", restart, logFile },
    { clock: systemClock, random: () => 0.5, onChange: (row) => rows.push(row) },
  );
  supervised.start();
  t.after(async () => {
    await supervised.close(0);
    rmSync(folder, { recursive: true });
  });
  return { process: supervised, rows, log: () => readFileSync(logFile, "utf8") };
}

function pauses(rows: readonly ProcessRow[]): number[] {
  return rows.flatMap(({ state }) => (state.phase === "waiting" ? [state.delayMs] : []));
}

function pidOf(supervised: SupervisedProcess): number | undefined {
  const { state } = supervised.row();
  return state.phase === "running" ? state.pid : undefined;
}

function ended(supervised: SupervisedProcess) {
  const { state } = supervised.row();
  return state.phase === "ended" && state;
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
