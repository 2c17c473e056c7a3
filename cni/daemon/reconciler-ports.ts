/** What the reconciler needs of the world, and what it knows of a pod. */
import type { Clock } from "../../core/base/clock.ts";
import type { ErrorData } from "../../core/base/errors.ts";
import type { Log } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import type { CaptureOptions } from "./capture-annotations.ts";
import type { HeldSockets } from "./captured-connections.ts";
import type { DesiredPod } from "./desired.ts";
import type { Enrolment, KernelTruth, Redirection } from "./enrolment.ts";
import type { CniError } from "./errors.ts";
import type { ProbePort } from "./host-probes.ts";

/** What a pod's namespace holds of ours, and how to change it. Everything may be repeated. */
export interface PodKernel {
  inspect(uid: string): Promise<KernelTruth | CniError>;
  route(uid: string): Promise<CniError | undefined>;
  redirect(uid: string, capture: CaptureOptions): Promise<CniError | undefined>;
  release(uid: string): Promise<CniError | undefined>;
  count(uid: string, addresses: readonly string[]): Promise<HeldSockets | CniError>;
  remove(uid: string): Promise<CniError | undefined>;
  /** For a captured pod: is everything as it was applied? */
  check(uid: string, capture: CaptureOptions): Promise<"same" | "drifted" | "replaced" | CniError>;
  close(uid: string): void;
}

export interface AgentPort {
  /** From now on every agent shall hold this pod. */
  offer(pod: DesiredPod): void;
  /** Settles when every agent has let go of it, or is gone. */
  withdraw(uid: string): Promise<void>;
  /** An agent that is connected now has acknowledged it. */
  serves(uid: string): boolean;
}

export interface ReconcilerModules {
  readonly kernel: PodKernel;
  readonly agents: AgentPort;
  /** Absent: nobody's probes need help. */
  readonly probes?: ProbePort;
  /** Answered by `annotated` or `annotationFailed`. */
  readonly annotate: (pod: DesiredPod, redirection: Redirection, gone: boolean) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface ReconcilerOptions {
  /** How long the agent's listeners outlive the redirect, for peers that haven't heard yet and still dial 15008. */
  readonly settleMs: number;
  readonly fullRoundMs: number;
}

export const defaultReconcilerOptions: ReconcilerOptions = { settleMs: 1000, fullRoundMs: 30_000 };

export interface Row {
  desired: DesiredPod;
  /** The pod's object is no more. */
  gone: boolean;
  state: Enrolment;
  /** Monotonic milliseconds of the last change of phase. */
  sinceMs: number;
  /** Something was said of the pod on its object, which must be taken back when it is gone. */
  annotated: boolean;
  annotationError: ErrorData | undefined;
  cancelTimer: (() => void) | undefined;
  /** Something has come to be known while the namespace was being looked for: look again. */
  lookAgain: boolean;
}

/** How long pods may take to leave a node that is given up. */
export interface ReleaseLimits {
  /** For an annotation that can't be written: the rights to do so may be gone already. */
  readonly annotationMs: number;
  /** For captured connections to end by themselves; afterwards they are cut. */
  readonly drainMs: number;
}
