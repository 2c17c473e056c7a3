/** The answer of GET /status. */
import type { Families } from "./addresses.ts";
import type { PodStage } from "./node-messages.ts";
import type { ProcessRow } from "./processes.ts";
import type { ServiceRoute } from "./service-routes.ts";

export interface LabStatus {
  readonly name: string;
  readonly families: Families;
  /** Every pod of the start runs and is ready, or has ended. */
  readonly ready: boolean;
  readonly nodes: readonly NodeStatus[];
  readonly pods: readonly PodStatus[];
  readonly processes: readonly ProcessRow[];
  readonly services: readonly ServiceRoute[];
  /** What the manifests' reader has to complain about: `file:line: field sentence`. */
  readonly problems: readonly string[];
}

export interface NodeStatus {
  readonly name: string;
  /** Of the node's supervisor, in the lab's PID namespace; its /run is the node's. */
  readonly pid: number | undefined;
  /** IPv4 first. */
  readonly addresses: readonly string[];
  readonly podRanges: readonly string[];
}

export interface PodStatus {
  /** `namespace/name` */
  readonly pod: string;
  readonly uid: string;
  readonly node: string;
  readonly addresses: readonly string[];
  readonly stage: PodStage | "pending";
  readonly ready: boolean;
  readonly restarts: number;
  /** Main processes, in the lab's PID namespace. */
  readonly pids: readonly number[];
}

/** The answer of POST /exec-target: paths as PID 1's /proc shows them. */
export interface ExecTarget {
  readonly netns: string;
  readonly mount: string;
  /** Environment of the pod's first container. */
  readonly env: Readonly<Record<string, string>>;
}
