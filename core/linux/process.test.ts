import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { until } from "../../test/support/until.ts";
import { becomeSubreaper, reapOrphans } from "./process.ts";
import { listProcesses, processStat } from "./procfs.ts";

const module = JSON.stringify(import.meta.resolve("./process.ts"));

test("a child that asked for it dies with its parent, even by kill -9", async () => {
  const child = `
    const { dieWithParent } = await import(${module});
    const failure = dieWithParent("SIGKILL", Number(process.env.PARENT));
    console.log(failure === undefined ? process.pid : String(failure));
    setInterval(() => {}, 1000);`;
  const parent = `
    const { spawn } = require("node:child_process");
    const env = { ...process.env, PARENT: process.pid };
    spawn(process.execPath, ["--input-type=module", "-e", ${JSON.stringify(child)}], { stdio: ["ignore", "inherit", "inherit"], env });
    setInterval(() => {}, 1000);`;
  const running = spawn(process.execPath, ["-e", parent], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(running.stdout, "data")) as [Buffer];
  const pid = Number(line.toString());
  assert.equal(processStat(pid)?.parent, running.pid);
  running.kill("SIGKILL");
  await until("the child's end", 10_000, () => {
    const state = processStat(pid)?.state;
    return state === undefined || state === "Z";
  });
});

test("a child whose parent is gone already ends at once", async () => {
  const script = `
    const { dieWithParent } = await import(${module});
    dieWithParent("SIGTERM", 999999999);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
  const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.deepEqual([code, signal], [null, "SIGTERM"]);
});

test("orphans are buried by their ids, and Node's own children are left to Node", async () => {
  assert.equal(becomeSubreaper(), undefined);
  // A shell that leaves a child behind: the child becomes ours.
  const shell = spawn("sh", ["-c", "sleep 0.01 & echo $!"], { stdio: ["ignore", "pipe", "inherit"] });
  const own = spawn("sleep", ["0.01"]);
  const ended = once(own, "exit");
  const [line] = (await once(shell.stdout, "data")) as [Buffer];
  const orphan = Number(line.toString());
  const reaped = await until("the orphan", 5_000, () => {
    const found = reapOrphans(new Set([shell.pid!, own.pid!]));
    return found.length > 0 ? found : undefined;
  });
  assert.deepEqual(reaped, [orphan]);
  assert.equal(processStat(orphan), undefined);
  assert.deepEqual(await ended, [0, null], "Node got its own child's status");
});

test("a process is found with its parent, whatever its name", async () => {
  const child = spawn("sleep", ["60"], { argv0: "a (strange) name" });
  await once(child, "spawn");
  const found = listProcesses().find(({ pid }) => pid === child.pid);
  assert.equal(found?.parent, process.pid);
  assert.ok(found.startTime > 0n);
  child.kill();
  await once(child, "exit");
  assert.equal(processStat(child.pid!), undefined);
});
