import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { mustRun, run, tail } from "./command.ts";

describe("running a program", () => {
  it("answers with what it wrote and how it ended", async () => {
    assert.deepEqual(await run(["sh", "-c", "cat; echo no >&2; exit 3"], { stdin: "yes" }), {
      stdout: "yes",
      stderr: "no\n",
      code: 3,
    });
  });

  it("reads its input from a file", async () => {
    const { stdout } = await run(["head", "-n", "1"], { stdin: { file: import.meta.filename } });
    assert.match(stdout, /^import assert/);
  });

  it("shows lines of standard error while it runs", async () => {
    const lines: string[] = [];
    await run(["sh", "-c", "echo one >&2; printf tw >&2; echo o >&2"], { onErrorLine: (line) => lines.push(line) });
    assert.deepEqual(lines, ["one", "two"]);
  });

  it("kills it when its time is over", async () => {
    assert.equal((await run(["sleep", "100"], { timeoutMs: 50 })).code, 137);
  });

  it("says that there is no such program", async () => {
    const { code, stderr } = await run(["/no/such/program"]);
    assert.equal(code, 127);
    assert.match(stderr, /ENOENT/);
  });

  it("throws with the end of what it complained of, where it must succeed", async () => {
    await assert.rejects(mustRun(["sh", "-c", "seq 100 >&2; exit 1"]), /exit 1: 89\n90\n/);
    assert.equal(tail("a\nb\nc\n", 2), "b\nc");
  });
});
