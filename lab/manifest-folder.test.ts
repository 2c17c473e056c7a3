import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { ManualClock } from "../core/base/clock.ts";
import { isManifestName, ManifestFolder } from "./manifest-folder.ts";

test("manifests are copied, other files are not", (t) => {
  const { theirs, ours, folder } = folders(t, { "a.yaml": "1", "b.json": "2", ".hidden.yaml": "3", "c.txt": "4" });
  folder.copyFrom(theirs);
  assert.deepEqual(readdirSync(ours).sort(), ["a.yaml", "b.json"]);
});

test("later changes of the folder follow, what was put in force otherwise stays", (t) => {
  const { theirs, ours, folder } = folders(t, { "a.yaml": "1", "b.yaml": "2" });
  const clock = new ManualClock();
  folder.copyFrom(theirs);
  folder.put("own.yaml", "mine");
  folder.put("b.yaml", "changed by a test");
  folder.follow(theirs, clock);
  writeFileSync(join(theirs, "a.yaml"), "new");
  writeFileSync(join(theirs, "c.yaml"), "3");
  clock.advance(2_000);
  const read = (file: string): string => readFileSync(join(ours, file), "utf8");
  assert.deepEqual(["a.yaml", "b.yaml", "c.yaml", "own.yaml"].map(read), ["new", "changed by a test", "3", "mine"]);
  rmSync(join(theirs, "a.yaml"));
  clock.advance(2_000);
  assert.deepEqual(readdirSync(ours).sort(), ["b.yaml", "c.yaml", "own.yaml"]);
});

test("a folder that goes away leaves in force what it held", (t) => {
  const { theirs, ours, folder } = folders(t, { "a.yaml": "1" });
  const clock = new ManualClock();
  folder.copyFrom(theirs);
  folder.follow(theirs, clock);
  renameSync(theirs, `${theirs}-away`);
  clock.advance(2_000);
  assert.deepEqual(readdirSync(ours), ["a.yaml"]);
  renameSync(`${theirs}-away`, theirs);
});

test("a manifest's name is a plain file name", () => {
  for (const name of ["a.yaml", "a-b.c.yml", "1.json"]) assert.ok(isManifestName(name), name);
  for (const name of ["../a.yaml", ".a.yaml", "a", "a.yaml~", "a/b.yaml", ""]) assert.ok(!isManifestName(name), name);
});

function folders(t: TestContext, files: Readonly<Record<string, string>>) {
  const [theirs, ours] = [mkdtempSync(join(tmpdir(), "theirs-")), mkdtempSync(join(tmpdir(), "ours-"))];
  t.after(() => [theirs, ours].forEach((folder) => rmSync(folder, { recursive: true, force: true })));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(theirs, name), text);
  return { theirs, ours, folder: new ManifestFolder(ours) };
}
