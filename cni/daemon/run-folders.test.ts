import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { removeRunFolders } from "./run-folders.ts";

test("both folders and the one they share go", (t) => {
  const { proc, root } = node(t, "var/run/ours/cni", "var/run/ours/zds");
  removeRunFolders({ proc, runDir: "/var/run/ours/cni", zdsDir: "/var/run/ours/zds" });
  assert.ok(!existsSync(join(root, "var/run/ours")));
  assert.ok(existsSync(join(root, "var/run")));
  // And once more, where nothing is left.
  removeRunFolders({ proc, runDir: "/var/run/ours/cni", zdsDir: "/var/run/ours/zds" });
});

test("what somebody else put there stays, with the folders it lies in", (t) => {
  const { proc, root } = node(t, "var/run/ours/cni", "var/run/ours/zds");
  writeFileSync(join(root, "var/run/ours/zds/theirs"), "");
  removeRunFolders({ proc, runDir: "/var/run/ours/cni", zdsDir: "/var/run/ours/zds" });
  assert.ok(!existsSync(join(root, "var/run/ours/cni")));
  assert.ok(existsSync(join(root, "var/run/ours/zds/theirs")));
});

test("another's folder for agents stays, empty or not", (t) => {
  const { proc, root } = node(t, "var/run/ours/cni", "var/run/ztunnel");
  removeRunFolders({ proc, runDir: "/var/run/ours/cni", zdsDir: "/var/run/ztunnel" });
  assert.ok(!existsSync(join(root, "var/run/ours/cni")));
  assert.ok(existsSync(join(root, "var/run/ours")));
  assert.ok(existsSync(join(root, "var/run/ztunnel")));
});

test("links on the way lead to where they lead on the node", (t) => {
  const { proc, root } = node(t, "run/ours/cni", "run/ours/zds", "var");
  symlinkSync("/run", join(root, "var/run"));
  symlinkSync("../var/run/ours", join(root, "run/there"));
  removeRunFolders({ proc, runDir: "/var/run/there/cni", zdsDir: "/run/elsewhere/zds" });
  assert.ok(!existsSync(join(root, "run/ours/cni")));
  removeRunFolders({ proc, runDir: "/var/run/ours/cni", zdsDir: "/var/run/ours/zds" });
  assert.ok(!existsSync(join(root, "run/ours")));
  // One that leads nowhere but to itself.
  symlinkSync("round", join(root, "run/round"));
  removeRunFolders({ proc, runDir: "/var/run/round/cni", zdsDir: "/var/run/round/zds" });
});

/** A node's file system as seen through its /proc. */
function node(t: TestContext, ...folders: readonly string[]): { proc: string; root: string } {
  const proc = mkdtempSync(join(tmpdir(), "run-folders-"));
  t.after(() => rmSync(proc, { recursive: true }));
  const root = join(proc, "1/root");
  for (const folder of folders) mkdirSync(join(root, folder), { recursive: true });
  return { proc, root };
}
