/** One run, ready to be told. */
import type { Curve } from "../growth/curves.ts";
import type { SideName } from "../side.ts";
import type { Verdict } from "../targets.ts";
import type { Machine } from "./machine.ts";
import type { Row } from "./rows.ts";

export interface Report {
  readonly machine: Machine;
  /** ISO 8601 to the minute, UTC. */
  readonly startedAt: string;
  readonly rounds: number;
  /** Of each load. */
  readonly seconds: number;
  readonly workers: number;
  readonly sides: readonly SideName[];
  readonly rows: readonly Row[];
  readonly curves: readonly Curve[];
  /** Sentences: what could not be measured, and why. */
  readonly notes: readonly string[];
  /** Where the run was judged. */
  readonly verdicts: readonly Verdict[];
}

/** What each side is, in a few words. */
export const sideTitles: Readonly<Record<SideName, string>> = {
  direct: "no mesh",
  ours: "our agents",
  haproxy: "haproxy mTLS pair",
  envoy: "Envoy HBONE pair",
  external: "BENCH_AGENT",
};
