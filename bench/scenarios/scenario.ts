/** What a run is made of. */
import type { ProxyCost } from "../measure/proxy-cost.ts";
import type { PodServers } from "../load/pod-programs.ts";
import type { Tool, ToolName } from "../load/tools.ts";
import type { BenchPod } from "../pod.ts";
import type { RunningSide, SideName } from "../side.ts";

/** By figure; in the figure's unit. */
export type Values = Readonly<Record<string, number>>;

/** A figure that this side can't have, which is no failure: one sentence. */
export interface NotMeasured {
  readonly notMeasured: string;
}

/** Compares sides: each is measured in turn, round by round. */
export interface PairedScenario {
  readonly kind: "paired";
  /** For `--only`. */
  readonly name: string;
  readonly tools: readonly ToolName[];
  /** A round begins with what the last one left: none is measured again. */
  readonly isCumulative?: true;
  readonly scene: SceneKind;
  /** Once for each side, before the first round: what happens only once is not to be measured. */
  prepare?(place: Place): Promise<void>;
  measure(place: Place): Promise<Values | NotMeasured>;
  /** What only all sides of one round together tell: more values, by side. */
  compare?(round: ReadonlyMap<SideName, Values>): ReadonlyMap<SideName, Values>;
  /** Once for each side, after the last round or a failure. */
  finish?(place: Place): Promise<void>;
}

/** Measures ours by itself, where there is nothing to compare with in a pair of pods. */
export interface LoneScenario {
  readonly kind: "alone";
  readonly name: string;
  measure(round: number): Promise<Values | NotMeasured>;
  /** Once, after the last round or a failure. */
  finish?(): Promise<void>;
}

/** Measures ours by itself, at growing numbers of one thing. */
export interface GrowthScenario {
  readonly kind: "growth";
  readonly name: string;
  /** In growing order. */
  readonly sizes: readonly number[];
  /** With so many of it. What the last size has left may be built upon. */
  measure(size: number): Promise<Values | NotMeasured>;
  /** After the last size of each round, or a failure: nothing is left. */
  finish?(): Promise<void>;
}

export type Scenario = PairedScenario | LoneScenario | GrowthScenario;

/** `usual`: all as it would be installed. `own-tunnels`: our agents give each connection a tunnel of its own. */
export type SceneKind = "usual" | "own-tunnels";

/** Where a scenario measures, and by what means. */
export interface Place {
  readonly side: RunningSide;
  /** Of each load. */
  readonly seconds: number;
  readonly rounds: number;
  readonly tools: ReadonlyMap<ToolName, Tool>;
  readonly servers: PodServers;
  /** For files that pods can read. */
  readonly folder: string;
  /** The nodes that lie between the pods, where they are watched. */
  readonly nodes?: readonly Pick<BenchPod, "key" | "readProc">[];
  /** Runs a load and says what the side's proxies cost meanwhile. */
  costOf<T>(load: () => Promise<T>): Promise<{ readonly result: T; readonly cost: ProxyCost }>;
}
