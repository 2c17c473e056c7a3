/** A release: the sources compile, and the compiled programs start, each with nothing but what it ships with. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";

const root = join(import.meta.dirname, "..");
/** What `npm run build` does to `dist/` is done here to a folder of its own. */
const steps = ["tsc -p tsconfig.build.json", "node scripts/bundle-agent.ts"];
const out = join(root, "dist", `test-${process.pid}`);
after(() => rmSync(out, { recursive: true, force: true }));

test("the sources compile, and the compiled programs answer", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: { build: string } };
  assert.equal(scripts.build, steps.join(" && "));
  const compiled = run(join(root, "node_modules/.bin/tsc"), ["-p", join(root, "tsconfig.build.json"), "--outDir", out]);
  assert.equal(compiled.status, 0, compiled.stdout);
  const help = run(process.execPath, [join(out, "bin/ambientctl.js"), "--help"]);
  assert.match(help.stdout, /workloads/);
  const refused = run(process.execPath, [join(out, "bin/ambientd.js"), "control", "--bogus"]);
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /--bogus is not a flag/);
  for (const room of ["agent", "cni"]) {
    const { stderr } = run(process.execPath, [join(out, "bin/ambientd.js"), room, "--bogus"]);
    assert.doesNotMatch(stderr, /ERR_MODULE_NOT_FOUND|ERR_UNKNOWN_FILE_EXTENSION/, room);
  }
});

test("the agent answers as the two files that are shipped, too", () => {
  const bundled = run(process.execPath, [join(root, "scripts/bundle-agent.ts"), "--dist", out]);
  assert.equal(bundled.status, 0, bundled.stderr);
  assert.deepEqual(globSync("agent/**/*.js", { cwd: out }).sort(), ["agent/main.js", "agent/worker/main.js"]);
  const { stdout } = run(process.execPath, [join(out, "bin/ambientd.js"), "agent", "version"]);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});

test("a room that doesn't exist is named, with those that do", () => {
  const { status, stderr } = run(process.execPath, [join(root, "bin/ambientd.ts"), "sidecar"]);
  assert.equal(status, 2);
  assert.match(stderr, /no "sidecar"[\s\S]*agent \| control \| cni/);
});

function run(program: string, argv: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(program, argv, { encoding: "utf8", timeout: 60_000, env: { PATH: process.env["PATH"], CI: "1" } });
}
