/** A pod's row as people and `ambientctl` see it: what is wanted, what is, and why it isn't yet. Answered on the daemon's socket. */
import type { ErrorData } from "../../core/base/errors.ts";
import type { DesiredPod } from "./desired.ts";
import type { Enrolment, Want } from "./enrolment.ts";

export interface PodStatus {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly want: Want;
  /** `selected`, or why not: `not-selected`, `sidecar`, … or `gone`. */
  readonly because: string;
  readonly phase: Enrolment["phase"];
  /** Milliseconds in this phase. */
  readonly phaseMs: number;
  /** `done`: as wanted. `pending`: on its way. `error`: something failed and is tried again. */
  readonly status: "done" | "pending" | "error";
  /** What is waited for, or what failed. */
  readonly reason?: ErrorData;
  /** A connected agent has acknowledged the pod. */
  readonly served: boolean;
  /** Captured connections that must end before the rules can go (while draining). */
  readonly connections?: number;
  /** As the object says. */
  readonly redirection?: string;
}

export interface RowView {
  readonly desired: DesiredPod;
  readonly gone: boolean;
  readonly state: Enrolment;
  readonly sinceMs: number;
  readonly annotationError: ErrorData | undefined;
}

export function statusOf(row: RowView, served: boolean, nowMs: number): PodStatus {
  const { desired, state } = row;
  const reason = reasonOf(row);
  const draining = state.phase === "draining" && state.held !== undefined ? { connections: state.held } : {};
  return {
    uid: desired.uid,
    namespace: desired.ref.namespace,
    name: desired.ref.name,
    want: desired.want,
    because: row.gone ? "gone" : desired.because,
    phase: state.phase,
    phaseMs: Math.round(nowMs - row.sinceMs),
    status: progressOf(row, reason),
    ...(reason === undefined ? {} : { reason }),
    served,
    ...draining,
    ...(desired.redirection === undefined ? {} : { redirection: desired.redirection }),
  };
}

function progressOf({ desired, state }: RowView, reason: ErrorData | undefined): PodStatus["status"] {
  if (state.phase === (desired.want === "enrol" ? "enrolled" : "absent")) return "done";
  // Connections that are still open are no failure, however long they last.
  return reason === undefined || reason.code === "cni.connections-open" ? "pending" : "error";
}

function reasonOf({ state, annotationError }: RowView): ErrorData | undefined {
  if ("work" in state && state.work.now === "waiting") return state.work.error;
  if (state.phase === "offered") return state.refused;
  if (state.phase === "redirected" || state.phase === "unannotating") return annotationError;
  return undefined;
}
