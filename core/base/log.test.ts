import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "log-"));
after(() => rmSync(folder, { recursive: true }));

const module = new URL("./log.ts", import.meta.url).href;
const script = `
  import { createLog, logSink, setLogFilter } from ${JSON.stringify(module)};
  import { extendLogFilter, defaultLogFilter } from ${JSON.stringify(new URL("./log-filter.ts", import.meta.url).href)};
`;

test("F-215 a line is JSON, or text between tabs where LOG_FORMAT says plain", () => {
  const say = `${script} createLog("zds", { worker: 1 }).warn({ uid: "a\\u001bb", code: 5, more: { x: 1 } }, "pod is\\nserved");`;
  const [json] = said(say, {});
  const { time, ...rest } = JSON.parse(json ?? "") as Record<string, unknown>;
  assert.match(String(time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  const fields = { level: "warn", scope: "zds", worker: 1, uid: "a\\u001bb", code: 5, more: { x: 1 } };
  assert.deepEqual(rest, { ...fields, message: "pod is\nserved" });
  const [plain = ""] = said(say, { LOG_FORMAT: "plain" });
  assert.deepEqual(plain.split("\t").slice(1), [
    "warn",
    "zds",
    "pod is\\u000aserved",
    'worker=1 uid="a\\\\u001bb" code=5 more={"x":1}',
  ]);
});

test("F-216 levels come from RUST_LOG, else LOG_LEVEL, by scope, and are changed for all logs at once while they run", () => {
  const both = `createLog("access").info("a"); createLog("dns").info("b");`;
  const messages = (more: string, env: Record<string, string>): unknown[] =>
    said(script + more, env).map((line) => (JSON.parse(line) as { message: unknown }).message);
  assert.deepEqual(messages(both, {}), ["a", "b"]);
  assert.deepEqual(messages(both, { RUST_LOG: "warn,dns=debug", LOG_LEVEL: "debug" }), ["b"]);
  assert.deepEqual(messages(both, { LOG_LEVEL: "error" }), []);
  assert.deepEqual(messages(both, { RUST_LOG: "loud" }), ["a", "b"], "what is no level leaves the default");
  const changed = `
    const log = createLog("dns");
    log.debug("before");
    setLogFilter(extendLogFilter(defaultLogFilter, "dns=debug"));
    log.debug("after");
    createLog("access").debug("never");
  `;
  assert.deepEqual(messages(changed, {}), ["after"]);
});

test("H110 a program whose output nobody reads goes on, counts what it drops, and ends", async () => {
  const pipe = join(folder, "pipe");
  assert.equal(spawnSync("mkfifo", [pipe]).status, 0);
  // Held open at both ends, so that nobody is told that nobody reads.
  const held = openSync(pipe, constants.O_RDWR);
  const many = `
    const log = createLog("agent");
    for (let i = 0; i < 10_000; i++) log.info({ i, text: "x".repeat(400) }, "line");
    process.stderr.write(String(logSink.dropped));
  `;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script + many], {
    stdio: ["ignore", held, "pipe"],
  });
  let dropped = "";
  child.stderr?.on("data", (chunk: Buffer) => (dropped += chunk.toString()));
  const code = await new Promise((resolve) => child.on("close", resolve));
  closeSync(held);
  assert.equal(code, 0);
  assert.ok(Number(dropped) > 1_000, dropped);
});

function said(text: string, env: Record<string, string>): string[] {
  const { stdout, status, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", text], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
  });
  assert.equal(status, 0, stderr.toString());
  return stdout
    .toString()
    .split("\n")
    .filter((line) => line !== "");
}
