/** One run of h2spec, and what became of each of its test cases. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run, tail } from "../cluster/command.ts";

export type CaseOutcome =
  | { readonly kind: "passed" }
  | { readonly kind: "skipped" } // h2spec finds no precondition for it, such as a limit that the server doesn't set
  | { readonly kind: "failed"; readonly expected: string; readonly actual: string };

/** By `section: description`, in h2spec's order: `http2/5.1: half closed (remote): Sends a DATA frame`. */
export type H2specReport = ReadonlyMap<string, CaseOutcome>;

/**
 * All cases, the strict ones too, against a server in clear on 127.0.0.1.
 * @param sections runs these alone: `http2/5.1`.
 */
export async function runH2spec(
  program: string,
  port: number,
  sections: readonly string[] = [],
): Promise<H2specReport> {
  const folder = mkdtempSync(join(tmpdir(), "h2spec-"));
  try {
    const file = join(folder, "report.xml");
    const argv = [...sections, "--strict", "--timeout", String(timeoutSeconds), "--junit-report", file];
    const { stdout, stderr } = await run([program, "--host", "127.0.0.1", "--port", String(port), ...argv], {
      timeoutMs: 150_000,
    });
    const report = parse(readFileSync(file, "utf8"));
    const [, count] = /^(\d+) tests, /m.exec(stdout) ?? [];
    // Two cases of one name would hide each other.
    if (Number(count) !== report.size)
      throw new Error(`h2spec ran ${count} cases and reports ${report.size}: ${tail(stderr)}`);
    return report;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The section of a case, for {@link runH2spec}. */
export function sectionOf(name: string): string {
  return name.slice(0, name.indexOf(":"));
}

export function countOf(report: H2specReport, kind: CaseOutcome["kind"]): number {
  return [...report.values()].filter((outcome) => outcome.kind === kind).length;
}

/** h2spec's JUnit file: one element a line, as its encoder writes it. */
function parse(xml: string): H2specReport {
  const cases = xml.matchAll(/<testcase package="([^"]*)" classname="([^"]*)"[^>]*>(.*?)<\/testcase>/gs);
  return new Map(
    [...cases].map(([, section = "", description = "", inside = ""]) => [
      `${section}: ${unescape(description)}`,
      outcomeOf(inside),
    ]),
  );
}

function outcomeOf(inside: string): CaseOutcome {
  if (inside.includes("<skipped")) return { kind: "skipped" };
  if (!inside.includes("<failure") && !inside.includes("<error")) return { kind: "passed" };
  const [, message = inside] = /<(?:failure|error)[^>]*>(.*?)<\/(?:failure|error)>/s.exec(inside) ?? [];
  // What would have been right, a line each; the last line is what came.
  const lines = unescape(message)
    .split("\n")
    .map((line) => line.trim());
  const actual = lines.filter((line) => line !== "").at(-1) ?? "";
  return { kind: "failed", expected: lines.slice(0, -1).join(" or "), actual };
}

function unescape(text: string): string {
  return text.replace(/&(#\w+|\w+);/g, (entity, name: string) => {
    if (!name.startsWith("#")) return entities[name] ?? entity;
    const code = name.startsWith("#x") ? parseInt(name.slice(2), 16) : Number(name.slice(1));
    return String.fromCodePoint(code);
  });
}

const entities: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** How long h2spec waits for a frame: only cases that fail take it. */
const timeoutSeconds = 2;
