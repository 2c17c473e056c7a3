/** What a side is built on: two pods, and what is the same for all sides. */
import type { BenchPod } from "../pod.ts";

/** A pod that proxies can be put into. */
export interface StagePod extends BenchPod {
  /** Opens its network namespace; undefined where this process may not enter it. */
  readonly netns: string | undefined;
  /** The same for whoever runs in a pod. */
  readonly netnsInside: string;
}

export interface Stage {
  readonly client: StagePod;
  readonly server: StagePod;
  /** Threads of each proxy that can be told. */
  readonly workers: number;
  /** Ports that servers of scenarios listen on: a proxy that can't be told the port by its peer has a tunnel for each. */
  readonly ports: readonly number[];
  /** For files that pods can read; need not exist yet, goes with the scene. */
  readonly folder: string;
}
