import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { getHeapStatistics } from "node:v8";
import { giveMemoryBack, helped } from "./garbage.ts";

test("what a heap kept for later goes back, and the collector is shown to nobody else", () => {
  let rows: object[] | undefined = Array.from({ length: 300_000 }, (_, index) => ({ index }));
  const grown = getHeapStatistics().total_physical_size;
  assert.equal(rows.length, 300_000);
  rows = undefined;
  giveMemoryBack();
  assert.ok(getHeapStatistics().total_physical_size < grown - 5_000_000);
  assert.equal("gc" in globalThis, false);
});

test("V8 has helpers collect where it isn't told otherwise, and takes it while it runs: threads before and after collect by themselves", () => {
  const { stdout: options } = spawnSync(process.execPath, ["--v8-options"], { encoding: "utf8" });
  for (const flag of helped) assert.match(options, new RegExp(`default: --${flag}$`, "m"));
  assert.match(options, /default: --concurrent-marking-max-worker-num=\d+$/m);
  const garbage = JSON.stringify(new URL("garbage.ts", import.meta.url).href);
  const program = `
    import { Worker } from "node:worker_threads";
    import { collectAll, collectWithoutHelp } from ${garbage};
    const fill = "globalThis.kept = new Map(); for (let at = 0; at < 400_000; at++) kept.set(at % 50_000, { at, text: 'x' + at, list: [at] });";
    const filled = () => new Promise((resolve) => new Worker(fill, { eval: true }).on("exit", resolve));
    const before = filled();
    (0, eval)(fill);
    collectWithoutHelp();
    const ends = await Promise.all([before, filled(), filled()]);
    (0, eval)(fill);
    collectAll();
    console.log(ends.join());
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  assert.deepEqual([stdout, stderr], ["0,0,0\n", ""]);
});
