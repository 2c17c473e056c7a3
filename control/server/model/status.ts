/** What objects are told about themselves: conditions, as data; the clock and the writing are others' business. */
import type { StatusRow } from "../../sources/conditions.ts";
import { fieldPath, refOf } from "../../sources/source.ts";
import type { AuthorizationPolicy, Condition, KubeObject, PeerAuthentication } from "../../sources/objects.ts";
import type { ConvertedPolicy, Reservation } from "./authorization.ts";

export const waypointBound = "istio.io/WaypointBound";
const ztunnelAccepted = "ZtunnelAccepted";
const accepted = "Accepted";

/** Whether agents enforce a policy, and how far. A policy for waypoints (targetRefs) is not ours to judge here. */
export function policyStatus(policy: AuthorizationPolicy, converted: ConvertedPolicy): StatusRow {
  const row = { ref: refOf(policy), owned: [ztunnelAccepted] };
  if (policy.faults.length > 0) return { ...row, conditions: [invalid(ztunnelAccepted, policy)] };
  if (policy.spec.targetRefs.length > 0) return { ...row, conditions: [] };
  const { reservation } = converted;
  if (reservation !== undefined) return { ...row, conditions: [{ type: ztunnelAccepted, ...reserved(reservation) }] };
  const message = "enforced by the node agents of the workloads it selects";
  return { ...row, conditions: [{ type: ztunnelAccepted, status: "True", reason: "Accepted", message }] };
}

/** A PeerAuthentication has nothing to say unless it was not understood. */
export function peerStatus(peer: PeerAuthentication): StatusRow {
  const conditions = peer.faults.length === 0 ? [] : [invalid(accepted, peer)];
  return { ref: refOf(peer), owned: [accepted], conditions };
}

function reserved(reservation: Reservation): Pick<Condition, "status" | "reason" | "message"> {
  const reason = "UnsupportedValue";
  switch (reservation.kind) {
    case "action":
      return { status: "False", reason, message: `node agents have no action ${reservation.action}: ${useWaypoint}` };
    case "dry-run":
      return { status: "False", reason, message: "a dry run is not sent to node agents: nothing is denied or logged" };
    case "http": {
      const found = `node agents cannot judge HTTP attributes (${reservation.attributes.join(", ")})`;
      const effect =
        reservation.action === "ALLOW"
          ? "rules that use them allow nothing, so less is allowed than written"
          : "rules that use them deny without them, so more is denied than written";
      return { status: "True", reason, message: `${found}: ${effect}. ${useWaypoint}` };
    }
  }
}

/** The newest version was refused: the view then is the last good one, or a value that refuses. */
function invalid(type: string, object: AuthorizationPolicy | PeerAuthentication): Condition {
  const faults = object.faults.map(({ path, message }) => `${fieldPath(path)} ${message}`.trim()).join("; ");
  return { type, status: "False", reason: "Invalid", message: `${faults}. ${inForce(object)}` };
}

function inForce(object: KubeObject): string {
  const neverGood = object.kind === "AuthorizationPolicy" && object.spec.rules === "unusable";
  if (neverGood)
    return object.spec.action === "ALLOW"
      ? "Until then it matches nothing, so what it selects is reached only as other policies allow."
      : "Until then everything it selects is denied.";
  return object.kind === "PeerAuthentication"
    ? "Until then the last good version stays in force; without one, mutual TLS is demanded (STRICT)."
    : "The last good version stays in force.";
}

const useWaypoint = "Attach the policy to a waypoint with targetRefs for that.";
