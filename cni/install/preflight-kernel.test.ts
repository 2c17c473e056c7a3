import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { enterNamespaces } from "../../test/support/namespaced.ts";
import { preflight } from "./preflight.ts";

const skip = enterNamespaces();

test("this machine's own kernel is tried out, and nothing is left of it", { skip: skip ?? false }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "ambient-preflight-"));
  try {
    // Not every machine lets its tests look into process 1.
    mkdirSync(join(directory, "proc/1/ns"), { recursive: true });
    symlinkSync("net:[1]", join(directory, "proc/1/ns/net"));
    const options = { binDir: directory, confDir: join(directory, "not-there-yet"), procDir: join(directory, "proc") };
    assert.equal(await preflight(options), undefined);
    const missing = await preflight({ ...options, binDir: "/proc/sys/none/bin", procDir: "/nowhere" });
    assert.match(missing?.sentence() ?? "", /\/proc\/sys\/none\/bin can't be written.*\/nowhere/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
