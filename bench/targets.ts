/** Whether ours is as fast as it is meant to be: targets.json against one run's rows. */
import { readFileSync } from "node:fs";
import type { Row } from "./report/rows.ts";
import { figure } from "./figures.ts";
import type { SideName } from "./side.ts";
import { quantity } from "./report/numbers.ts";

/** All of its parts are to be met. */
export interface Target {
  readonly title: string;
  readonly parts: readonly TargetPart[];
}

/** Of our side's median: a limit, or so many times a peer's median in the same run. Above or below is as the figure is better. */
export type TargetPart =
  | { readonly figure: string; readonly limit: number }
  | { readonly figure: string; readonly times: number; readonly peer: SideName };

export interface PartVerdict {
  readonly part: TargetPart;
  /** Of the figure, in its unit; undefined: it was not measured here. */
  readonly value: number | undefined;
  readonly limit: number | undefined;
  /** How far off, as a factor: 1 or less is met, 1.3 is 30 % too much (or too little). Infinity where nothing was measured. */
  readonly over: number;
}

export interface Verdict {
  readonly target: Target;
  readonly parts: readonly PartVerdict[];
  /** Of the worst part. */
  readonly over: number;
}

export function readTargets(): Target[] {
  return JSON.parse(readFileSync(new URL("./targets.json", import.meta.url), "utf8")) as Target[];
}

export function judge(targets: readonly Target[], rows: readonly Row[]): Verdict[] {
  return targets.map((target) => {
    const parts = target.parts.map((part) => judgePart(part, rows));
    return { target, parts, over: Math.max(...parts.map(({ over }) => over)) };
  });
}

/** At least all but two are met, and none is missed by more than three tenths. */
export function areMet(verdicts: readonly Verdict[]): boolean {
  const missed = verdicts.filter(({ over }) => over > 1);
  return missed.length <= missesAllowed && missed.every(({ over }) => over <= farthest);
}

/** `met` or `missed by 12 %`, after the target, its figure and its limit. */
export function verdictLine({ target, parts, over }: Verdict): string {
  const said = parts.map(({ part, value, limit }) => {
    const { unit, better } = figure(part.figure);
    const bound = better === "lower" ? "≤" : "≥";
    const meant = limit === undefined ? "" : ` (${bound} ${quantity(limit, unit)}${timesOf(part)})`;
    return `${value === undefined ? `${part.figure} not measured` : quantity(value, unit)}${meant}`;
  });
  return `${verdictWord(over)}: ${target.title}: ${said.join(", ")}`;
}

export function verdictWord(over: number): string {
  if (over <= 1) return "met";
  if (over === Number.POSITIVE_INFINITY) return "missed, not measured";
  const percent = (over - 1) * 100;
  return `missed by ${percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}

function judgePart(part: TargetPart, rows: readonly Row[]): PartVerdict {
  const medianOf = (side: SideName): number | undefined =>
    rows.find((row) => row.figure === part.figure && row.side === side)?.median;
  const value = medianOf("ours");
  const limit = "limit" in part ? part.limit : times(part.times, medianOf(part.peer));
  if (value === undefined || limit === undefined || limit <= 0)
    return { part, value, limit, over: Number.POSITIVE_INFINITY };
  const isLower = figure(part.figure).better === "lower";
  // What was added over something else may be less than nothing.
  const over = isLower ? Math.max(0, value / limit) : value <= 0 ? Number.POSITIVE_INFINITY : limit / value;
  return { part, value, limit, over };
}

function times(factor: number, of: number | undefined): number | undefined {
  return of === undefined ? undefined : factor * of;
}

function timesOf(part: TargetPart): string {
  return "times" in part ? `, ${part.times} × ${part.peer}` : "";
}

const missesAllowed = 2;
const farthest = 1.3;
