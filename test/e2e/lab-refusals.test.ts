/** A machine on which there can be no lab says so in one sentence, with what to do, and exit code 2. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { checkoutRoot } from "../../lab/programs.ts";

test("where user namespaces are not to be had, the sentence says which setting or sudo", (t) => {
  // A user namespace whose only uid is unmapped: nobody there may make another one.
  const { status, stderr } = start(["unshare", "--user", "--"]);
  t.diagnostic(stderr.trim());
  assert.equal(status, 2);
  assert.match(
    stderr,
    /^The lab needs namespaces of its own, and may not have them here \(unshare: .*\)\. .*(sudo).*\.\n$/,
  );
});

test("root without capabilities is told of its container", { skip: notRoot() }, (t) => {
  const { status, stderr } = start(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--"]);
  t.diagnostic(stderr.trim());
  assert.equal(status, 2);
  assert.match(stderr, /^The lab needs namespaces of its own.* --privileged\.\n$/);
});

test("a folder of manifests that is not there is named", () => {
  const { status, stderr } = start([], ["--manifests", "/no/such/folder"]);
  assert.equal(status, 2);
  assert.match(stderr, /^The folder of manifests cannot be read: .*\/no\/such\/folder'\.\n$/);
});

test("a folder without manifests makes a lab without pods", () => {
  inEmptyFolder((folder) => {
    const { stdout, stderr } = start(awhile, ["--manifests", folder]);
    assert.match(stdout, /everything runs/, stderr);
  });
});

/** Long enough for a lab without pods. */
const awhile = ["timeout", "--preserve-status", "3"];

function inEmptyFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "empty-"));
  try {
    body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function start(before: readonly string[], flags: readonly string[] = []) {
  const argv = [...before, process.execPath, "lab/main.ts", "--components=", ...flags];
  return spawnSync(argv[0]!, argv.slice(1), { cwd: checkoutRoot, encoding: "utf8", timeout: 30_000 });
}

function notRoot(): string | false {
  return process.getuid?.() === 0 ? false : "needs root";
}
