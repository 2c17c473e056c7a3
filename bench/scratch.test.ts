import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { scratchFolder } from "./scratch.ts";

test("a folder is there until it is removed, and others may look into it", () => {
  const folder = scratchFolder("scratch-");
  assert.ok(existsSync(folder.path));
  folder.remove();
  assert.ok(!existsSync(folder.path));
});

for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`${signal} takes all folders along`, async () => {
    const script = `import { scratchFolder } from ${JSON.stringify(join(import.meta.dirname, "scratch.ts"))};
      scratchFolder("scratch-").remove();
      console.log([scratchFolder("scratch-").path, scratchFolder("scratch-").path].join());
      setInterval(() => {}, 1e6);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const paths = line.toString().trim().split(",");
    assert.ok(paths.length === 2 && paths.every((path) => existsSync(path)));
    child.kill(signal);
    assert.deepEqual(await once(child, "exit"), [code, null]);
    assert.ok(!paths.some((path) => existsSync(path)));
  });
}
