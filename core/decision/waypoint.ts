/** Which waypoint stands before a service or workload, and which of its pods takes the connection (agent-wire 1.7 steps A and F). */
import { formatEndpoint } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { chooseEndpoint } from "./choose-endpoint.ts";
import type { CloseCode } from "./close-reasons.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";

export type WaypointChoice =
  | {
      readonly kind: "waypoint";
      readonly workload: MeshWorkload;
      readonly port: number;
      readonly service?: MeshService;
    }
  | { readonly kind: "none"; readonly reason: Extract<CloseCode, "UNKNOWN_WAYPOINT" | "NO_HEALTHY_WAYPOINT"> };

export interface WaypointQuery {
  readonly source: MeshWorkload;
  readonly random: Random;
  readonly exclude?: ReadonlySet<string>;
}

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
  query: WaypointQuery,
  trace: TraceStep[],
): WaypointChoice {
  const text = describeGateway(reference);
  const found = state.gateway(reference.destination, query.source.namespace);
  if (found === undefined) {
    trace.push({ code: "waypoint-unresolved", of, reference: text });
    return { kind: "none", reason: "UNKNOWN_WAYPOINT" };
  }
  if ("uid" in found) {
    trace.push({ code: "waypoint-chosen", of, reference: text, workload: found.uid });
    return { kind: "waypoint", workload: found, port: reference.port };
  }
  const endpoint = chooseEndpoint(
    state,
    { ...query, service: found, servicePort: reference.port, purpose: "waypoint" },
    trace,
  );
  if (endpoint.kind === "none") {
    trace.push({ code: "waypoint-unresolved", of, reference: text });
    return { kind: "none", reason: "NO_HEALTHY_WAYPOINT" };
  }
  trace.push({ code: "waypoint-chosen", of, reference: text, workload: endpoint.workload.uid });
  return { kind: "waypoint", workload: endpoint.workload, port: endpoint.port, service: found };
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

/** `namespace/hostname:port` or `network/address:port`. */
export function describeGateway({ destination, port }: GatewayRef): string {
  return destination.kind === "hostname"
    ? `${destination.namespace}/${destination.hostname}:${port}`
    : `${destination.network}/${formatEndpoint({ address: destination.address, port })}`;
}
