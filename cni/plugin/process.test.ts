import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { longestLogBytes } from "./log-file.ts";
import { callPlugin, environment, fromSource } from "./test-support/call-plugin.ts";
import { answering, scriptedDaemon, type Script } from "./test-support/scripted-daemon.ts";

const directory = mkdtempSync(join(tmpdir(), "ambient-cni-test-"));
after(() => rmSync(directory, { recursive: true, force: true }));
let places = 0;

const prevResult = { cniVersion: "1.0.0", ips: [{ address: "10.0.0.2/24" }], dns: {} };

test("ADD of a pod the daemon agrees to: the result alone on standard output, exit 0, and a line in the log", async () => {
  const { answer, requests, runDir } = await add(answering("200 OK"));
  assert.deepEqual([answer.code, JSON.parse(answer.stdout), answer.stderr], [0, prevResult, ""]);
  assert.match(requests[0] ?? "", /^POST \/cmdadd HTTP\/1\.1\r\n/);
  assert.match(requests[0] ?? "", /"PodName":"cart"/);
  const line = JSON.parse(readFileSync(join(runDir, "ambient-cni.log"), "utf8")) as Record<string, unknown>;
  assert.deepEqual([line["level"], line["verb"], line["pod"], line["sandbox"]], ["info", "ADD", "shop/cart", "c1"]);
  assert.equal(statSync(join(runDir, "ambient-cni.log")).mode & 0o777, 0o600);
});

test("the reason of a daemon that says no is in the message, on one line", async () => {
  const { answer } = await add(answering("500 Oh", "pod shop/cart is not enrolled yet:\n cni.no-agent\n"));
  assert.equal(answer.code, 1);
  assert.equal(
    report(answer.stdout).msg,
    "pod shop/cart is held back: pod shop/cart is not enrolled yet: cni.no-agent",
  );
});

test("whatever answers in the daemon's place, the pod is held back", async () => {
  const cases: Record<string, { script: Script; code: number }> = {
    "not HTTP": { script: (socket) => socket.end("SSH-2.0-dropbear\r\n"), code: 999 },
    "cut at once": { script: (socket) => socket.destroy(), code: 11 },
    "an empty end": { script: (socket) => socket.end(), code: 11 },
    "cut in its head": { script: (socket) => socket.end("HTTP/1.1 20"), code: 11 },
    "cut in its body": { script: (socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), code: 11 },
    "a redirection": { script: answering("302 Found"), code: 11 },
    "not found": { script: answering("404 Not Found"), code: 11 },
    "ten megabytes": { script: (socket) => socket.end(`HTTP/1.1 500 No\r\n\r\n${"x".repeat(1e7)}`), code: 11 },
    silence: { script: () => undefined, code: 11 },
    "a drip": {
      script: (socket) => {
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n");
        const drip = setInterval(() => socket.write("x"), 200);
        socket.on("close", () => clearInterval(drip));
      },
      code: 11,
    },
  };
  const all = Object.entries(cases).map(async ([name, { script, code }]) => {
    const { answer } = await add(script);
    assert.deepEqual([answer.code, report(answer.stdout).code, answer.stderr], [1, code, ""], name);
    assert.ok(answer.stdout.length < 3000, name);
  });
  await Promise.all(all);
});

test("a daemon that never answers holds the pod back for less than ten seconds", async () => {
  const { answer } = await add(() => undefined);
  assert.match(report(answer.stdout).msg, /gave no answer on .* within 5 s/);
  assert.ok(answer.elapsedMs < 10_000, `${answer.elapsedMs} ms`);
});

test("nobody listens, no directory, no socket: try again later, and the socket is named", async () => {
  const runDir = place();
  const stale = place();
  writeFileSync(join(stale, "pluginevent.sock"), "");
  for (const [dir, code, words] of [
    [join(directory, "none"), 11, /none\/pluginevent\.sock: ENOENT/],
    [runDir, 11, /ENOENT/],
    [stale, 999, /is no socket, so its answer can't be trusted/],
  ] as const) {
    const answer = await callPlugin(fromSource, { env: environment("ADD"), stdin: configText(dir) });
    assert.deepEqual([answer.code, report(answer.stdout).code], [1, code]);
    assert.match(report(answer.stdout).msg, words);
  }
});

test("a socket that others could have put there isn't asked", async () => {
  const runDir = place();
  const daemon = await scriptedDaemon(runDir, answering("200 OK"));
  chmodSync(runDir, 0o777);
  const open = await callPlugin(fromSource, { env: environment("ADD"), stdin: configText(runDir) });
  assert.match(report(open.stdout).msg, /lies in a directory that others may write to/);
  chmodSync(runDir, 0o755);
  const linked = place();
  symlinkSync(join(runDir, "pluginevent.sock"), join(linked, "pluginevent.sock"));
  const link = await callPlugin(fromSource, { env: environment("ADD"), stdin: configText(linked) });
  assert.match(report(link.stdout).msg, /is no socket/);
  assert.deepEqual(daemon.requests, []);
  daemon.close();
});

test("standard input without an end is given up within ten seconds", async () => {
  const answer = await callPlugin(fromSource, { env: environment("ADD"), stdin: undefined });
  assert.deepEqual([answer.code, report(answer.stdout).code], [1, 11]);
  assert.ok(answer.elapsedMs < 10_000);
});

test("the log is bounded, and where it can't be written the pod passes all the same", async () => {
  const runDir = place();
  const daemon = await scriptedDaemon(runDir, answering("200 OK"));
  writeFileSync(join(runDir, "ambient-cni.log"), "x".repeat(longestLogBytes));
  const call = () => callPlugin(fromSource, { env: environment("ADD"), stdin: configText(runDir) });
  assert.equal((await call()).code, 0);
  assert.equal((await call()).code, 0);
  assert.ok(statSync(join(runDir, "ambient-cni.log")).size < 1000);
  assert.ok(statSync(join(runDir, "ambient-cni.log.1")).size > longestLogBytes);
  rmSync(join(runDir, "ambient-cni.log"));
  symlinkSync("/dev/full", join(runDir, "ambient-cni.log"));
  assert.equal((await call()).code, 0);
  daemon.close();
});

async function add(script: Script) {
  const runDir = place();
  const daemon = await scriptedDaemon(runDir, script);
  try {
    const answer = await callPlugin(fromSource, { env: environment("ADD"), stdin: configText(runDir) });
    return { answer, requests: daemon.requests, runDir };
  } finally {
    daemon.close();
  }
}

function place(): string {
  const path = join(directory, String(places++));
  mkdirSync(path);
  return path;
}

function configText(runDir: string): string {
  return JSON.stringify({
    cniVersion: "1.0.0",
    name: "k8s",
    type: "ambient-cni",
    cni_agent_run_dir: runDir,
    prevResult,
  });
}

function report(stdout: string): { code: number; msg: string } {
  return JSON.parse(stdout) as { code: number; msg: string };
}
