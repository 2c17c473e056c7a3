/** What PID 1 and the node supervisors say to each other over Node's IPC channel. Plain data. */
import type { NodePlan } from "./addresses.ts";
import type { LabEvent } from "./events.ts";
import type { ProcessAction, ProcessRow, RestartPolicy } from "./processes.ts";
import type { ServiceRoute } from "./service-routes.ts";

/** Given once, when a node comes up. */
export interface NodeConfig {
  readonly plan: NodePlan;
  /** The node's daemons: `agent`, `cni`. */
  readonly daemons: readonly ProgramSpec[];
  /** How long a pod of an ambient namespace waits, before its first process starts, for being enrolled. */
  readonly enrolmentWaitMs: number;
}

export interface ProgramSpec {
  /** Full name, as `node1.agent`. */
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** All that a node shall run, whole: what is missing in it goes away. */
export interface NodeDesired {
  readonly pods: readonly PodDesired[];
  readonly routes: readonly ServiceRoute[];
  /** Text of /etc/hosts. */
  readonly hosts: string;
  /** Whether what the daemons need at their start (root certificate, token) is there. */
  readonly daemonsMayStart: boolean;
}

export interface PodDesired {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** One per family, IPv4 first. */
  readonly addresses: readonly string[];
  readonly hostNetwork: boolean;
  /** `awaited`: the pod is ambient and not yet annotated as redirected. */
  readonly enrolment: "none" | "awaited" | "done";
  readonly restart: RestartPolicy;
  readonly containers: readonly ContainerSpec[];
  readonly initContainers: readonly ContainerSpec[];
}

export interface ContainerSpec {
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** TCP ports it declares: it is ready when it listens on all of them. */
  readonly ports: readonly number[];
}

/** Where a pod is in its life. `networked`: namespace and addresses are there, its processes are not. */
export type PodStage = "networked" | "initializing" | "running" | "succeeded" | "failed";

export interface PodRow {
  readonly uid: string;
  /** `namespace/name` */
  readonly pod: string;
  readonly stage: PodStage;
  readonly ready: boolean;
  /** Main process of each running container. */
  readonly pids: readonly number[];
  readonly restarts: number;
}

export type ToNode =
  | { readonly kind: "config"; readonly config: NodeConfig }
  | { readonly kind: "desired"; readonly desired: NodeDesired }
  | { readonly kind: "act"; readonly name: string; readonly action: ProcessAction; readonly signal?: NodeJS.Signals }
  | { readonly kind: "shut-down" };

export type FromNode =
  | { readonly kind: "up" }
  | { readonly kind: "pod"; readonly row: PodRow }
  | { readonly kind: "pod-gone"; readonly uid: string; readonly pod: string }
  | { readonly kind: "process"; readonly row: ProcessRow }
  | { readonly kind: "process-gone"; readonly name: string }
  | { readonly kind: "event"; readonly event: LabEvent }
  | { readonly kind: "down" };
