/** Checks as lines: what was looked at, whether it holds, and what to do where it doesn't. */
import { printable } from "./table.ts";

export interface Check {
  /** Whose: a node, or empty for the whole cluster. */
  readonly subject: string;
  /** Stable, for scripts and --ignore: `agent-ready`. */
  readonly name: string;
  readonly outcome: "ok" | "warning" | "failed" | "skipped";
  /** What was found. */
  readonly finding: string;
  /** Wherever it isn't ok. */
  readonly nextStep?: string;
}

/** One line each, the next step below it. @returns text that ends in a newline; empty for no checks. */
export function renderChecks(checks: readonly Check[]): string {
  const widthOf = (field: "subject" | "name" | "outcome"): number =>
    Math.max(0, ...checks.map((check) => check[field].length));
  const [subject, name, outcome] = [widthOf("subject"), widthOf("name"), widthOf("outcome")];
  return checks
    .map((check) => {
      const words = [
        check.subject.padEnd(subject),
        check.name.padEnd(name),
        check.outcome.padEnd(outcome),
        check.finding,
      ];
      const line = (subject === 0 ? words.slice(1) : words).join("  ");
      return [line, ...(check.nextStep === undefined ? [] : [`    ${check.nextStep}`])]
        .map((text) => `${printable(text).trimEnd()}\n`)
        .join("");
    })
    .join("");
}

export function hasFailed(checks: readonly Check[]): boolean {
  return checks.some(({ outcome }) => outcome === "failed");
}
