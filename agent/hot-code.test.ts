import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { thresholds } from "./hot-code.ts";

test("V8 has the thresholds that are lowered, and higher ones of its own, and collects in pauses", () => {
  const { stdout } = spawnSync(process.execPath, ["--v8-options"], { encoding: "utf8" });
  assert.match(stdout, /default: --memory-reducer$/m);
  for (const [name, calls] of Object.entries(thresholds)) {
    const own = new RegExp(`default: --${name}=(\\d+)$`, "m").exec(stdout)?.[1];
    assert.ok(Number(own) > calls, `--${name}=${own}`);
  }
});

test("nothing is said about what code is to be compiled and kept", () => {
  const module = JSON.stringify(new URL("hot-code.ts", import.meta.url).href);
  const program = `const code = await import(${module}); code.keepCode(); code.compileSooner(); console.log("done");`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  assert.deepEqual([stdout, stderr], ["done\n", ""]);
});
