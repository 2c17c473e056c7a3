/**
 * `npm test`: format, lint, types, then every unit and end-to-end test, one summary line at the end: `N passed, N failed, N skipped`.
 * Arguments are substrings of file names (`npm test -- policy` runs what matches and leaves the static checks out).
 */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { globSync, writeFileSync } from "node:fs";
import { run } from "node:test";
import { installPeers } from "./peers.ts";
import { Rows } from "./rows.ts";

/** What of the runner's events is read here. */
interface TestPass {
  readonly name: string;
  readonly file?: string | undefined;
  readonly skip?: string | boolean | undefined;
  readonly details: { readonly duration_ms: number };
}

interface TestFail {
  readonly name: string;
  readonly file?: string | undefined;
  readonly skip?: string | boolean | undefined;
  readonly details: { readonly error: Error };
}

interface Tally {
  passed: number;
  failed: string[];
  skipped: string[];
}

// Tests find out who keeps octets that were only lent: agent/relay/lending.ts.
process.env["AMBIENTD_SPOIL_LENT"] = "1";

const tally: Tally = { passed: 0, failed: [], skipped: [] };
const rows = new Rows();
const wanted = process.argv.slice(2);
const started = performance.now();

say(`Node ${process.version}, ${process.getuid?.() === 0 ? "root" : "an ordinary user"}`);
for (const line of installPeers()) say(line);

if (wanted.length === 0) {
  check("formatted by prettier", "prettier", ["--check", "--log-level=warn", "."]);
  check("floors and rules of the linter", "eslint", ["."]);
  check("types", "tsc", ["-p", "tsconfig.json"]);
}

const files = globSync("{core,control,agent,waypoint,cni,lab,cli,bin,deploy,bench,test}/**/*.test.ts").sort();
const chosen = files.filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)));
const endToEnd = chosen.filter((file) => file.startsWith("test/e2e/") || file === "test/deploy/image.test.ts");
const onCluster = chosen.filter((file) => file.startsWith("test/cluster/"));
await runFiles(
  chosen.filter((file) => !endToEnd.includes(file) && !onCluster.includes(file)),
  { concurrency: 2, timeout: 180_000 },
);
// One after another: each builds a lab of its own and measures it, or builds the image.
await runFiles(endToEnd, { concurrency: 1, timeout: 600_000 });
// One after another on one cluster, which the first of them starts; the first time, its parts are built before.
await runFiles(onCluster, { concurrency: 1, timeout: 2_400_000 });
if (onCluster.length > 0) spawnSync(process.execPath, ["test/cluster/main.ts", "down"], { stdio: "ignore" });

report();

/** @property timeout milliseconds: a watchdog over a whole file, ten times what the slowest takes. */
interface Pace {
  readonly concurrency: number;
  readonly timeout: number;
}

async function runFiles(paths: readonly string[], pace: Pace): Promise<void> {
  if (paths.length === 0) return;
  const stream = run({ files: [...paths], ...pace });
  const isFile = (name: string): boolean => paths.some((path) => name.endsWith(path));
  stream.on("test:stdout", ({ message }) => process.stdout.write(message));
  stream.on("test:stderr", ({ message }) => process.stdout.write(message));
  stream.on("test:diagnostic", ({ nesting, message }) => {
    if (nesting > 0) say(`    ${message}`);
  });
  stream.on("test:pass", (data) => {
    // Neither suites nor the runner's own entry for a file are tests of ours.
    if (data.details.type !== "suite" && !isFile(data.name)) passed(data);
  });
  stream.on("test:fail", failed);
  stream.resume();
  await once(stream, "end");
}

function passed(data: TestPass): void {
  if (data.skip !== undefined) return skipped(data);
  tally.passed++;
  rows.count(data.name, "passed");
  say(`ok    ${relative(data.file)}: ${data.name} (${Math.round(data.details.duration_ms)} ms)`);
}

function skipped(data: TestPass | TestFail): void {
  const reason = typeof data.skip === "string" && data.skip !== "" ? data.skip : "no reason given";
  const line = `${relative(data.file)}: ${data.name} (${reason})`;
  tally.skipped.push(line);
  rows.count(data.name, "skipped");
  say(`SKIP  ${line}`);
}

function failed(data: TestFail): void {
  // A hook found that there is nothing to test with; what the test's body then did counts for nothing.
  if (data.skip !== undefined) return skipped(data);
  const failure = data.details.error as Error & { failureType?: string; cause?: unknown };
  // A test that fails only because one inside it failed is counted once, inside.
  if (failure.failureType === "subtestsFailed") return;
  const name = `${relative(data.file)}: ${data.name}`;
  tally.failed.push(name);
  rows.count(data.name, "failed");
  say(`FAIL  ${name}\n${indent(explain(failure))}`);
}

function check(name: string, command: string, args: string[]): void {
  const before = performance.now();
  const result = spawnSync(`node_modules/.bin/${command}`, args, { encoding: "utf8" });
  if (result.status === 0) {
    tally.passed++;
    say(`ok    ${name} (${Math.round(performance.now() - before)} ms)`);
  } else {
    tally.failed.push(name);
    say(`FAIL  ${name}\n${indent(result.stdout + result.stderr)}`);
  }
}

function report(): void {
  if (tally.skipped.length > 0) say(`\nSkipped:\n${tally.skipped.map((line) => `  ${line}`).join("\n")}`);
  if (tally.failed.length > 0) say(`\nFailed:\n${tally.failed.map((line) => `  ${line}`).join("\n")}`);
  if (wanted.length === 0) {
    writeFileSync("test/rows.json", `${JSON.stringify(rows, undefined, 2)}\n`);
    say(`\nRows of the inventory without a test that passed: ${rows.missing.join(" ") || "none"} (test/rows.json)`);
  }
  say(`\n${Math.round((performance.now() - started) / 1000)} s`);
  process.stdout.write(
    `${tally.passed} passed, ${tally.failed.length} failed, ${tally.skipped.length} skipped\n`,
    () => {
      process.exit(tally.failed.length > 0 || tally.passed === 0 ? 1 : 0);
    },
  );
}

function explain(failure: Error & { cause?: unknown }): string {
  const cause = failure.cause;
  return cause instanceof Error ? (cause.stack ?? cause.message) : (failure.stack ?? failure.message);
}

function relative(file: string | undefined): string {
  return file === undefined ? "?" : file.replace(`${process.cwd()}/`, "");
}

function indent(text: string): string {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => `      ${line}`)
    .join("\n");
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
