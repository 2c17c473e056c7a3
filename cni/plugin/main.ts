/** The plugin as a process: whatever happens, there is one JSON answer on standard output, nothing else, and soon. */
import { statSync, writeSync } from "node:fs";
import { messageOf } from "../../core/base/errors.ts";
import { cniErrorCode, renderError, type ErrorReport } from "../../core/protocol/cni/errors.ts";
import { askDaemon } from "./ask-daemon.ts";
import { writeNote } from "./log-file.ts";
import { runPlugin, type Outcome } from "./run.ts";

export async function main(): Promise<never> {
  process.on("uncaughtException", (error) => leave(bug(error)));
  setTimeout(() => leave(tooLong), longestCallMs);
  try {
    return leave(
      await runPlugin({
        env: process.env,
        readConfig,
        ask: askDaemon,
        isOwnNetns,
        note: (settings, note) => writeNote(settings, note, Date.now()),
      }),
    );
  } catch (thrown) {
    return leave(bug(thrown));
  }
}

async function readConfig(): Promise<string | ErrorReport> {
  const { promise, resolve } = Promise.withResolvers<string | ErrorReport>();
  const fail = (problem: string, code: number = cniErrorCode.io): void =>
    resolve({ code, msg: `the network configuration can't be read from stdin: ${problem}` });
  const late = `it has no end after ${stdinPatienceMs / 1000} s`;
  const timer = setTimeout(() => fail(late, cniErrorCode.tryAgainLater), stdinPatienceMs);
  const chunks: Buffer[] = [];
  let length = 0;
  process.stdin.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    length += chunk.length;
    if (length > longestConfigBytes) fail(`it is longer than ${longestConfigBytes} bytes`);
  });
  process.stdin.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
  process.stdin.on("error", (error) => fail(messageOf(error)));
  const text = await promise;
  clearTimeout(timer);
  process.stdin.pause();
  return text;
}

/** A path that leads nowhere isn't our own namespace; what it is worth is for the daemon to say. */
function isOwnNetns(path: string): boolean {
  try {
    const own = statSync("/proc/self/ns/net");
    const asked = statSync(path);
    return own.ino === asked.ino && own.dev === asked.dev;
  } catch {
    return false;
  }
}

function leave({ stdout, stderr, exitCode }: Outcome): never {
  const said = writeAll(1, stdout) && writeAll(2, stderr ?? "");
  process.exit(said ? exitCode : 1);
}

/** Standard streams of a runtime are pipes, perhaps non-blocking ones: wait a little for a slow reader. */
function writeAll(fd: number, text: string): boolean {
  const bytes = Buffer.from(text);
  const end = Date.now() + writePatienceMs;
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (thrown) {
      const again = thrown instanceof Error && "code" in thrown && thrown.code === "EAGAIN";
      if (!again || Date.now() > end) return false;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
  return true;
}

function bug(thrown: unknown): Outcome {
  const msg = `the plugin failed: ${messageOf(thrown)}`;
  const details = "this is a bug of ambient-cni: please report it with the pod's event";
  return { stdout: renderError({ code: cniErrorCode.internal, msg, details }), exitCode: 1 };
}

const pause = new Int32Array(new SharedArrayBuffer(4));
const stdinPatienceMs = 5000;
const writePatienceMs = 1000;
/** What standard input and the daemon may take together: well within 10 s. */
const longestCallMs = 8500;
const longestConfigBytes = 4 * 1024 * 1024;

const tooLong: Outcome = {
  stdout: renderError({
    code: cniErrorCode.tryAgainLater,
    msg: `the plugin wasn't done within ${longestCallMs / 1000} s`,
    details: "it is tried again; is the node short of processor time?",
  }),
  exitCode: 1,
};
