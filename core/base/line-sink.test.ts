import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { LineSink } from "./line-sink.ts";

const folder = mkdtempSync(join(tmpdir(), "line-sink-"));
after(() => rmSync(folder, { recursive: true }));

test("H110 a pipe that nobody reads keeps nobody waiting, and what is too much is counted; a reader that comes back gets whole lines", () => {
  const pipe = join(folder, "pipe");
  assert.equal(spawnSync("mkfifo", [pipe]).status, 0);
  const reading = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  // As a container's runtime hands it over: one that blocks.
  const writing = openSync(pipe, constants.O_WRONLY);
  const sink = new LineSink({ fd: writing, mostBytes: 100_000 });
  const line = `${"x".repeat(999)}\n`;
  for (let i = 0; i < 1_000; i++) sink.write(line);
  assert.ok(sink.dropped > 700, `${sink.dropped} of 1,000 were dropped`);
  let text = "";
  const buffer = Buffer.alloc(1 << 20);
  const read = (): void => {
    for (;;) {
      try {
        text += buffer.toString("latin1", 0, readSync(reading, buffer));
      } catch {
        return;
      }
    }
  };
  read();
  sink.flush();
  read();
  sink.write("the last\n");
  sink.flush();
  read();
  const lines = text.split("\n");
  assert.equal(lines.pop(), "");
  assert.equal(lines.pop(), "the last");
  assert.ok(lines.every((one) => one === line.trim()));
  assert.equal(lines.length + sink.dropped, 1_000);
  closeSync(reading);
  closeSync(writing);
});

test("H110 a full disk costs lines and nothing else", () => {
  const full = openSync("/dev/full", "w");
  const sink = new LineSink({ fd: full });
  sink.write("one\ntwo\n");
  sink.write("three\n");
  assert.equal(sink.dropped, 3);
  closeSync(full);
});
