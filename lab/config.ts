/** What a lab is asked to be: given to PID 1 as the first line of its lifeline. */
import type { Families } from "./addresses.ts";
import type { Env } from "./programs.ts";

export interface LabConfig {
  readonly name: string;
  readonly nodes: readonly string[];
  readonly families: Families;
  /** Folder whose manifests are copied into the lab; absolute. */
  readonly manifests: string;
  /** Whether later changes of that folder reach the lab too. */
  readonly watch: boolean;
  /** Data-plane workers of each agent. */
  readonly workers: number;
  /** Life of workload certificates in seconds; control's default where absent. */
  readonly certTtlSeconds?: number;
  readonly components: Readonly<Record<Component, boolean>>;
  readonly environment: Readonly<Record<Component, Env>>;
  /** Folder of compiled programs; those beside the lab where absent. */
  readonly programs?: string;
  /** How long an ambient pod waits for its enrolment, in milliseconds; only with a CNI daemon. */
  readonly enrolmentWaitMs: number;
}

export type Component = (typeof components)[number];
export const components = ["control", "cni", "agent"] as const;
