/** Which waypoint stands before a service or workload, and which of its pods takes the connection (agent-wire 1.7 steps A and F). */
import type { Random } from "../base/random.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { CloseCode } from "./close-reasons.ts";
import { chooseGateway, describeGateway, type ChosenGateway, type GatewayQuery } from "./gateway.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";

export type WaypointChoice =
  | ChosenGateway
  | { readonly kind: "none"; readonly reason: Extract<CloseCode, "UNKNOWN_WAYPOINT" | "NO_HEALTHY_WAYPOINT"> };

/** The waypoint reference that counts for this connection: one of the weighted, by chance; the single one where no weight is above 0. */
export function waypointOf(service: MeshService, random: Random, trace: TraceStep[]): GatewayRef | undefined {
  let total = 0;
  for (const { weight } of service.weightedWaypoints) total += weight;
  if (total <= 0) return service.waypoint;
  let left = random() * total;
  const sampled =
    service.weightedWaypoints.find(({ weight }) => (left -= weight) < 0) ??
    service.weightedWaypoints.findLast(({ weight }) => weight > 0);
  if (sampled === undefined) return service.waypoint;
  const { destination, weight } = sampled;
  trace.push({ code: "waypoint-sampled", of: service.key, reference: describeGateway(destination), weight });
  return destination;
}

/**
 * A pod of the waypoint, or why the connection must be refused: a waypoint is never bypassed.
 * @param of the service key or workload uid that has the waypoint, for the trace.
 */
export function chooseWaypoint(
  state: MeshState,
  reference: GatewayRef,
  of: string,
  query: GatewayQuery,
  trace: TraceStep[],
): WaypointChoice {
  const choice = chooseGateway(state, reference, "waypoint", query, trace);
  const text = describeGateway(reference);
  if (choice.kind !== "gateway") {
    trace.push({ code: "waypoint-unresolved", of, reference: text });
    return { kind: "none", reason: choice.kind === "unknown" ? "UNKNOWN_WAYPOINT" : "NO_HEALTHY_WAYPOINT" };
  }
  trace.push({ code: "waypoint-chosen", of, reference: text, workload: choice.workload.uid });
  return choice;
}

/** Every waypoint that a service may be reached through. */
export function waypointsOf(service: MeshService): readonly GatewayRef[] {
  const weighted = service.weightedWaypoints.map(({ destination }) => destination);
  return service.waypoint === undefined ? weighted : [service.waypoint, ...weighted];
}

/** Whether connections to the service go through a waypoint at all. */
export function hasWaypoint({ waypoint, weightedWaypoints }: MeshService): boolean {
  return waypoint !== undefined || weightedWaypoints.some(({ weight }) => weight > 0);
}

/** Whether the workload is one of the pods that the reference names. */
export function isMember(state: MeshState, workload: MeshWorkload, reference: GatewayRef): boolean {
  const { destination } = reference;
  if (destination.kind === "hostname") {
    const { namespace, hostname } = destination;
    return (
      workload.services.has(`${namespace}/${hostname}`) ||
      (workload.hostname === hostname && workload.namespace === namespace)
    );
  }
  const { network, address } = destination;
  if (workload.network === network && !workload.hostNetwork && workload.addresses.includes(address)) return true;
  const service = state.serviceByAddress(network, address, workload.namespace)?.service;
  return service !== undefined && workload.services.has(service.key);
}
