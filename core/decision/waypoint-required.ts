/**
 * Whether a connection that reached a pod should have come through a waypoint and did not. A workload whose own record names a waypoint
 * takes connections from that waypoint only; on a service's ports the same holds where the service asks for it. What counts is
 * the identity that the peer's certificate proved, and the TCP peer's address where the mesh knows it: never a header.
 */
import type { Endpoint } from "../base/ip.ts";
import type { Identity } from "../protocol/spiffe/identity.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { portOf } from "./eligible.ts";
import { describeGateway } from "./gateway.ts";
import type { MeshState } from "./mesh-state.ts";
import { isMember, waypointsOf } from "./waypoint.ts";

export interface TraversalFacts {
  /** Undefined for plaintext: nobody's waypoint. */
  readonly peerIdentity?: Identity;
  /** Canonical text of the TCP peer's address. */
  readonly peerAddress: string;
  /** The pod's own address, the port after every mapping. */
  readonly destination: Endpoint;
}

/**
 * What demands a waypoint that this connection did not come through: the waypoint's reference, or the service that asks for one and
 * has none. Undefined where nothing is missing.
 * @param local the newest word about the pod's workload.
 */
export function missedWaypoint(state: MeshState, local: MeshWorkload, facts: TraversalFacts): string | undefined {
  const demand = demandOf(state, local, facts.destination.port);
  if (demand === undefined || isItself(local, facts)) return undefined;
  const { peerIdentity, peerAddress } = facts;
  const came =
    peerIdentity !== undefined &&
    waypointsBefore(state, local).some((reference) => isWaypoint(state, local, reference, peerIdentity, peerAddress));
  return came ? undefined : demand;
}

/** The workload's own waypoint, which covers every port; else that of a service that asks for it, on the ports it leads to. */
function demandOf(state: MeshState, local: MeshWorkload, port: number): string | undefined {
  // A waypoint's pod is not behind itself.
  if (local.waypoint && !isMember(state, local, local.waypoint)) return describeGateway(local.waypoint);
  for (const key of local.services.keys()) {
    const service = state.service(key);
    if (service?.waypointRequired !== true || !leadsTo(service, local, port)) continue;
    const references = waypointsOf(service);
    if (references.some((reference) => isMember(state, local, reference))) continue;
    return references[0] === undefined ? key : describeGateway(references[0]);
  }
  return undefined;
}

/** Every waypoint that may stand before this workload: its own, and those of the services it backs. */
function waypointsBefore(state: MeshState, local: MeshWorkload): GatewayRef[] {
  const references = local.waypoint ? [local.waypoint] : [];
  for (const key of local.services.keys()) {
    const service = state.service(key);
    if (service) references.push(...waypointsOf(service));
  }
  return references;
}

/** A pod that calls itself goes past nobody. */
function isItself(local: MeshWorkload, { peerIdentity, peerAddress, destination }: TraversalFacts): boolean {
  return peerAddress === destination.address && (peerIdentity === undefined || isSame(peerIdentity, local));
}

function isWaypoint(
  state: MeshState,
  local: MeshWorkload,
  reference: GatewayRef,
  identity: Identity,
  address: string,
): boolean {
  const known = state.workloadByAddress(local.network, address);
  if (known) return isSame(identity, known) && isMember(state, known, reference);
  // Nobody is known by this address: a member that shares its node's, or one that control has not told of yet.
  const named = state.gateway(reference.destination, local.namespace);
  if (named === undefined) return false;
  if ("uid" in named) return isSame(identity, named);
  for (const member of state.workloadsBehind(named.key)) if (isSame(identity, member)) return true;
  return false;
}

function leadsTo(service: MeshService, local: MeshWorkload, port: number): boolean {
  return service.ports.some(
    ({ servicePort, targetPort }) => portOf(local, service.key, servicePort, targetPort) === port,
  );
}

function isSame(identity: Identity, { trustDomain, namespace, serviceAccount }: MeshWorkload): boolean {
  return (
    identity.serviceAccount === serviceAccount &&
    identity.namespace === namespace &&
    identity.trustDomain === trustDomain
  );
}
