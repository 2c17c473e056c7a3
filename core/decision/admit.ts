/**
 * Whether a connection may enter a pod: what policies say, and whether it came through the waypoint that it had to come through.
 * Asked when it begins and again whenever an answer may have changed.
 */
import { authorize, type Authorization, type AuthorizationFacts, type DenialCode } from "./authorize.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";
import { missedWaypoint } from "./waypoint-required.ts";

export interface AdmissionFacts extends AuthorizationFacts {
  /** False: a waypoint may be passed by, as other agents let it. On unless said otherwise. */
  readonly requireWaypoint?: boolean;
}

export type Admission =
  | Extract<Authorization, { readonly allowed: true }>
  | {
      readonly allowed: false;
      readonly reason: DenialCode | "WAYPOINT_REQUIRED";
      /** The DENY policy that fits, or the listed one that is unknown. */
      readonly policy?: string;
      /** The waypoint that was passed by. */
      readonly waypoint?: string;
      readonly trace: readonly TraceStep[];
    };

/** Policies first: a caller that they turn away learns nothing about waypoints. */
export function admit(state: MeshState, facts: AdmissionFacts): Admission {
  const verdict = authorize(state, facts);
  if (!verdict.allowed || facts.requireWaypoint === false) return verdict;
  const local = state.workload(facts.local.uid) ?? facts.local;
  const waypoint = missedWaypoint(state, local, facts);
  if (waypoint === undefined) return verdict;
  const trace = [...verdict.trace, { code: "waypoint-missed", of: local.uid, waypoint } as const];
  return { allowed: false, reason: "WAYPOINT_REQUIRED", waypoint, trace };
}
