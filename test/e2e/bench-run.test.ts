/** `npm run bench` from its flags to its files, at its smallest: that it measures, not what. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Row } from "../../bench/report/rows.ts";
import { checkoutRoot } from "../../lab/programs.ts";
import { run, tail } from "../cluster/command.ts";

test("a bench measures two sides in turn, makes a tunnel for each handshake, and writes rows and a page", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "ambientd-bench-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const [json, page] = [join(folder, "rows.json"), join(folder, "page.html")];
  const what = ["--sides", "direct,ours", "--only", "requests-16,handshakes", "--rounds", "1", "--seconds", "1"];
  const command = [process.execPath, join(checkoutRoot, "bench/main.ts"), ...what, "--json", json, "--page", page];
  const { code, stdout, stderr } = await run(command, { timeoutMs: 120_000 });
  if (code === 2) return t.skip(stderr.trim());
  const missing = /^skipped: .* is not installed.*$/m.exec(stdout);
  if (missing !== null) return t.skip(missing[0]);
  assert.equal(code, 0, tail(`${stdout}${stderr}`, 30));
  const rows = JSON.parse(readFileSync(json, "utf8")) as Row[];
  const measured = rows.map(({ figure, side }) => `${figure} ${side}`);
  assert.deepEqual(measured, [
    "requests-16.rate direct",
    "requests-16.rate ours",
    "requests-16.cpu ours",
    "handshakes.rate direct",
    "handshakes.rate ours",
    "handshakes.cpu ours",
    "handshakes.cpu-server ours",
  ]);
  for (const { min, median, max } of rows) assert(min > 0 && min === median && median === max);
  assert.match(readFileSync(page, "utf8"), /kept-alive 1 KiB requests at 16 connections/);
});
