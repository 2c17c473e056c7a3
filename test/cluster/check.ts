/**
 * `npm run cluster -- --check`: installs ambientd and shows that it does what it says, one line a check: the very tests that
 * `npm test` runs, but for those that pull plugs.
 * @returns the exit code: 0 all held, 1 something did not, 2 something could not be tried.
 */
import { once } from "node:events";
import { join } from "node:path";
import { run } from "node:test";

const files = ["label", "first-packet", "policy", "identity"];

export async function check(): Promise<number> {
  const counts = { ok: 0, failed: 0, untried: 0 };
  const say = (verdict: string, text: string): void => void process.stdout.write(`${verdict.padEnd(6)}${text}\n`);
  const stream = run({
    files: files.map((name) => join(import.meta.dirname, `${name}.test.ts`)),
    concurrency: 1,
    forceExit: true,
  });
  stream.on("test:stdout", ({ message }) => process.stdout.write(message));
  stream.on("test:diagnostic", ({ nesting, message }) => {
    if (nesting > 0) say("", message);
  });
  stream.on("test:pass", ({ name, skip, details }) => {
    if (skip !== undefined) {
      counts.untried++;
      say("can't", `${name}: ${String(skip)}`);
    } else if (details.type !== "suite" && !name.endsWith(".test.ts")) {
      counts.ok++;
      say("ok", name);
    }
  });
  stream.on("test:fail", ({ name, details }) => {
    // A suite fails with its tests, which have been named; its own hooks have not.
    const { failureType, cause } = details.error as Error & { failureType?: string; cause?: unknown };
    if (failureType === "subtestsFailed") return;
    counts.failed++;
    say("FAIL", `${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
  });
  stream.resume();
  await once(stream, "end");
  process.stdout.write(`${counts.ok} held, ${counts.failed} failed, ${counts.untried} could not be tried\n`);
  if (counts.failed > 0) return 1;
  return counts.untried > 0 || counts.ok === 0 ? 2 : 0;
}
