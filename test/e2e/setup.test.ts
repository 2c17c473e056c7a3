/** What runs before anything is installed. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { checkoutRoot } from "../../lab/programs.ts";
import { commandOf, isAlive } from "../support/host-traces.ts";
import { until } from "../support/until.ts";

test("kill -9 of npm during the installation ends all of it", async () => {
  // A checkout that never gets installed: its registry answers nobody, and its cache is empty.
  const folder = mkdtempSync(join(tmpdir(), "setup-"));
  for (const name of ["package.json", "package-lock.json", ".npmrc", "scripts"])
    cpSync(join(checkoutRoot, name), join(folder, name), { recursive: true });
  const env = {
    ...process.env,
    npm_config_registry: "http://127.0.0.1:9/",
    npm_config_cache: join(folder, "cache"),
    npm_config_fetch_retries: "10",
  };
  const npm = spawn("npm", ["start"], { cwd: folder, env, stdio: "ignore", detached: true });
  try {
    const running = await until("npm ci", 30_000, () => {
      const found = processesIn(folder);
      return found.some((pid) => / ci\b/.test(commandOf(pid))) && found;
    });
    assert.ok(running.length >= 4, running.map(commandOf).join("\n"));
    process.kill(npm.pid!, "SIGKILL");
    await until("the end of every process", 10_000, () => processesIn(folder).length === 0);
  } finally {
    for (const pid of processesIn(folder)) process.kill(pid, "SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  }
});

function processesIn(folder: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && isAlive(pid) && workingFolder(pid) === folder);
}

function workingFolder(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return "";
  }
}
