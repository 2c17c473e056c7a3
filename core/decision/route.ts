/** Where a captured connection goes (agent-wire 1.7, steps A to G): a pure function from the mesh and one connection's facts to a route or a refusal. */
import { formatEndpoint, isLoopback, type Endpoint } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { chooseAddress } from "./choose-address.ts";
import { chooseEndpoint } from "./choose-endpoint.ts";
import type { CloseCode } from "./close-reasons.ts";
import { chooseGateway, describeGateway, type ChosenGateway } from "./gateway.ts";
import { identitiesOf, serviceIdentities } from "./identities.ts";
import { hbonePort, isOwnPort } from "./own-ports.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";
import { chooseWaypoint, hasWaypoint, isMember, waypointOf, waypointsOf } from "./waypoint.ts";

export interface OutboundFacts {
  /** The workload that connects. */
  readonly source: MeshWorkload;
  /** The original destination; canonical text. */
  readonly target: Endpoint;
  /** The network this agent is on (its NETWORK setting): the one in which `target` means something. */
  readonly network: string;
  readonly random: Random;
  /** Uids not to be chosen again: they failed before a byte was relayed. */
  readonly exclude?: ReadonlySet<string>;
  /** What hostnames of endpoints resolve to, asked without waiting: undefined where nobody asked yet, empty where there is nothing. */
  readonly resolved?: (hostname: string) => readonly string[] | undefined;
}

/** Every kind carries the trace that led to it. */
export type OutboundDecision =
  /** Not the mesh's business: plain TCP to where it was going. */
  | { readonly kind: "passthrough"; readonly target: Endpoint; readonly trace: readonly TraceStep[] }
  /** Plain TCP to a known workload that takes no HBONE. */
  | {
      readonly kind: "direct";
      readonly workload: MeshWorkload;
      readonly service?: MeshService;
      readonly target: Endpoint;
      readonly trace: readonly TraceStep[];
    }
  | HboneRoute
  | DoubleHboneRoute
  | {
      readonly kind: "refuse";
      readonly reason: OutboundRefusal;
      /** Uid of whom chance chose and no way leads to: ask again without it. Absent where nobody else would do either. */
      readonly endpoint?: string;
      /** With HOSTNAME_UNRESOLVED: the name to resolve before asking again. */
      readonly hostname?: string;
      readonly trace: readonly TraceStep[];
    };

/** A CONNECT for `authority` inside a tunnel to `tunnel`, whose certificate must show one of `identities`. */
export interface HboneRoute {
  readonly kind: "hbone";
  readonly via: "workload" | "waypoint";
  /** Who answers at `tunnel`: the destination itself, or the waypoint's pod. */
  readonly workload: MeshWorkload;
  /** The service that was addressed. */
  readonly service?: MeshService;
  readonly tunnel: Endpoint;
  readonly authority: string;
  /** SPIFFE URIs; any of them will do. */
  readonly identities: readonly string[];
  /** What the connection is for: the endpoint's own address and port, or behind a waypoint the original destination. */
  readonly target: Endpoint;
  readonly trace: readonly TraceStep[];
}

/**
 * A tunnel inside a tunnel, to another network: a CONNECT for `authority` to the gateway, whose certificate must show one of
 * `identities`; inside that stream a second one for the same authority, whose peer must show one of `innerIdentities`.
 */
export interface DoubleHboneRoute {
  readonly kind: "double-hbone";
  readonly via: "workload" | "waypoint";
  /** Who answers the inner tunnel, as far as it is known here: often one record for all endpoints of that network. */
  readonly workload: MeshWorkload;
  /** The service that was addressed. */
  readonly service: MeshService;
  /** The other network. */
  readonly network: string;
  readonly gateway: { readonly reference: string; readonly workload: MeshWorkload; readonly service?: MeshService };
  /** Where the gateway takes HBONE. */
  readonly tunnel: Endpoint;
  /** `hostname:port` of the service as it was addressed: no address of this network means anything there. */
  readonly authority: string;
  readonly identities: readonly string[];
  /** Never empty: without a name nobody there could be believed, and the connection is refused. */
  readonly innerIdentities: readonly string[];
  readonly target: Endpoint;
  readonly trace: readonly TraceStep[];
}

export type OutboundRefusal = Extract<
  CloseCode,
  | "RECURSIVE_CALL"
  | "NO_HEALTHY_UPSTREAM"
  | "NO_SERVICE_PORT"
  | "UNKNOWN_WAYPOINT"
  | "NO_HEALTHY_WAYPOINT"
  | "CROSS_NETWORK_ADDRESS"
  | "NO_NETWORK_GATEWAY"
  | "NO_HEALTHY_GATEWAY"
  | "NO_REMOTE_IDENTITY"
  | "NO_USABLE_ADDRESS"
  | "HOSTNAME_UNRESOLVED"
>;

interface Upstream {
  readonly workload: MeshWorkload;
  readonly port: number;
  /** The service through which it was chosen. */
  readonly service?: MeshService;
}

/** Never throws: whatever the mesh and the connection are, there is a route or a reason. */
export function decideOutbound(state: MeshState, facts: OutboundFacts): OutboundDecision {
  const { source, target, network } = facts;
  const trace: TraceStep[] = [];
  if (isLoopback(target.address) && isOwnPort(target.port)) return refuse("RECURSIVE_CALL", trace);

  // A: what is addressed? A workload's own address comes before a service's prefix around it.
  const addressedWorkload = state.workloadByAddress(network, target.address);
  const match = state.serviceByAddress(network, target.address, source.namespace);
  const addressed = addressedWorkload ? undefined : match?.service;
  if (addressed) {
    trace.push({ code: "target-is-service", service: addressed.key, by: match?.by ?? "vip" });
    const route = routeByServiceWaypoint(state, facts, addressed, trace);
    if (route) return route;
  } else if (addressedWorkload) {
    trace.push({ code: "target-is-workload", workload: addressedWorkload.uid });
  }

  // B: which workload takes it? Here a service comes first, even one that covers a workload's address with a prefix.
  const balanced = match?.service;
  const isPassthrough = balanced?.loadBalancing?.mode === "passthrough";
  let upstream: Upstream | undefined;
  if (balanced && !isPassthrough) {
    if (!addressed) trace.push({ code: "prefix-balances", service: balanced.key });
    const query = { ...facts, service: balanced, servicePort: target.port, purpose: "service" } as const;
    const choice = chooseEndpoint(state, query, trace);
    // C: a service without an endpoint refuses. Passing the connection on as it is would leave the mesh in clear text.
    if (choice.kind === "none") return refuse(choice.reason, trace);
    upstream = { workload: choice.workload, port: choice.port, service: balanced };
  } else if (addressedWorkload) {
    // A passthrough prefix around a known workload keeps the destination, but not at the price of its encryption.
    if (balanced) trace.push({ code: "prefix-passes", service: balanced.key });
    upstream = { workload: addressedWorkload, port: target.port };
  }
  if (upstream === undefined) {
    if (!isPassthrough) trace.push({ code: "target-is-unknown", network, address: target.address });
    trace.push({ code: "kept-as-it-is", because: isPassthrough ? "passthrough-service" : "unknown-address" });
    return { kind: "passthrough", target, trace };
  }

  const { workload } = upstream;
  // The waypoint of an endpoint's service account takes what is addressed to services that have none themselves.
  if (addressed && workload.waypointScope === "service-account" && !hasWaypoint(addressed)) {
    trace.push({ code: "waypoint-of-account", service: addressed.key, workload: workload.uid });
    const route = routeByWorkloadWaypoint(state, facts, workload, addressed, trace);
    if (route) return route;
  }
  // D: another network is reached by service only, and E: through its gateway.
  if (workload.network !== source.network) {
    if (!addressed) return refuse("CROSS_NETWORK_ADDRESS", trace);
    return routeThroughGateway(state, facts, { workload, service: addressed, addressed, via: "workload" }, trace);
  }
  // F: a workload's waypoint serves those who address a workload.
  if (!addressed) {
    const route = routeByWorkloadWaypoint(state, facts, workload, undefined, trace);
    if (route) return route;
  }
  return routeDirect(upstream, facts, trace); // G
}

/** Undefined where there is no waypoint, or the source is one of its pods: that traffic is past it already, and would come back for ever. */
function routeByServiceWaypoint(
  state: MeshState,
  facts: OutboundFacts,
  service: MeshService,
  trace: TraceStep[],
): OutboundDecision | undefined {
  if (!hasWaypoint(service)) return undefined;
  const own = waypointsOf(service).find((reference) => isMember(state, facts.source, reference));
  if (own) {
    trace.push({ code: "waypoint-is-source", of: service.key, reference: describeGateway(own) });
    return undefined;
  }
  const reference = waypointOf(service, facts.random, trace);
  return reference && routeByWaypoint(state, facts, reference, { service }, service.key, trace);
}

/** The same for a workload's waypoint. */
function routeByWorkloadWaypoint(
  state: MeshState,
  facts: OutboundFacts,
  { uid, waypoint }: MeshWorkload,
  service: MeshService | undefined,
  trace: TraceStep[],
): OutboundDecision | undefined {
  if (waypoint === undefined) return undefined;
  if (isMember(state, facts.source, waypoint)) {
    trace.push({ code: "waypoint-is-source", of: uid, reference: describeGateway(waypoint) });
    return undefined;
  }
  return routeByWaypoint(state, facts, waypoint, service ? { service } : {}, uid, trace);
}

function routeByWaypoint(
  state: MeshState,
  facts: OutboundFacts,
  reference: GatewayRef,
  about: { readonly service?: MeshService },
  of: string,
  trace: TraceStep[],
): OutboundDecision {
  const waypoint = chooseWaypoint(state, reference, of, facts, trace);
  if (waypoint.kind === "none") return refuse(waypoint.reason, trace);
  const { workload, service } = waypoint;
  if (workload.network !== facts.source.network) {
    // No service, no name that the other network's gateway could go by.
    if (about.service === undefined) return refuse("CROSS_NETWORK_ADDRESS", trace);
    return routeThroughGateway(state, facts, { workload, service, addressed: about.service, via: "waypoint" }, trace);
  }
  const tunnel = tunnelTo(waypoint, facts, trace);
  if ("kind" in tunnel) return tunnel;
  return {
    kind: "hbone",
    via: "waypoint",
    workload,
    ...about,
    tunnel,
    // The waypoint needs to know what was asked for: the service's own address and port, not an endpoint's.
    authority: formatEndpoint(facts.target),
    identities: identitiesOf(workload, service, trace),
    target: facts.target,
    trace,
  };
}

interface RemoteUpstream {
  readonly workload: MeshWorkload;
  /** Through which `workload` was chosen: its names are what the inner tunnel is checked against. */
  readonly service: MeshService | undefined;
  readonly addressed: MeshService;
  readonly via: "workload" | "waypoint";
}

/** E: the raw address of another network means nothing on this one, so it is never dialled. */
function routeThroughGateway(
  state: MeshState,
  facts: OutboundFacts,
  { workload, service, addressed, via }: RemoteUpstream,
  trace: TraceStep[],
): OutboundDecision {
  const { network, networkGateway } = workload;
  const reference = networkGateway ? describeGateway(networkGateway) : "";
  trace.push({ code: "other-network", workload: workload.uid, network, gateway: reference });
  const endpoint = workload.uid;
  if (networkGateway === undefined) return refuse("NO_NETWORK_GATEWAY", trace, { endpoint });
  const gateway = chooseGateway(state, networkGateway, "service", facts, trace);
  if (gateway.kind !== "gateway") {
    trace.push({ code: "gateway-unresolved", network, reference });
    return refuse(gateway.kind === "unknown" ? "NO_NETWORK_GATEWAY" : "NO_HEALTHY_GATEWAY", trace, { endpoint });
  }
  trace.push({ code: "gateway-chosen", network, reference, workload: gateway.workload.uid });
  const innerIdentities = service ? serviceIdentities(service, trace) : [];
  if (innerIdentities.length === 0) {
    trace.push({ code: "remote-identity-missing", service: service?.key ?? "" });
    return refuse("NO_REMOTE_IDENTITY", trace, { endpoint });
  }
  const tunnel = tunnelTo(gateway, facts, trace);
  if ("kind" in tunnel) return tunnel;
  return {
    kind: "double-hbone",
    via,
    workload,
    service: addressed,
    network,
    gateway: { reference, workload: gateway.workload, ...(gateway.service && { service: gateway.service }) },
    tunnel,
    authority: `${addressed.hostname}:${facts.target.port}`,
    identities: identitiesOf(gateway.workload, gateway.service, trace),
    innerIdentities,
    target: facts.target,
    trace,
  };
}

/** Where a waypoint or a gateway takes HBONE. */
function tunnelTo(
  { workload, service, port, namedAddress }: ChosenGateway,
  facts: OutboundFacts,
  trace: TraceStep[],
): Endpoint | Refused {
  const wanted = namedAddress ?? facts.target.address;
  const chosen = chooseAddress(workload, service, { ...facts, wanted }, trace);
  if (chosen.kind === "none") return refuse(chosen.reason, trace, { ...chosen.about, endpoint: workload.uid });
  return { address: chosen.address, port };
}

function routeDirect(upstream: Upstream, facts: OutboundFacts, trace: TraceStep[]): OutboundDecision {
  const { workload, service, port } = upstream;
  const chosen = chooseAddress(workload, service, { ...facts, wanted: facts.target.address }, trace);
  if (chosen.kind === "none") {
    return refuse(chosen.reason, trace, { ...chosen.about, ...(service && { endpoint: workload.uid }) });
  }
  const target = { address: chosen.address, port };
  const about = { workload, ...(service && { service }), target, trace };
  if (workload.tunnel === "tcp") return { kind: "direct", ...about };
  return {
    kind: "hbone",
    via: "workload",
    ...about,
    tunnel: { address: chosen.address, port: hbonePort },
    authority: formatEndpoint(target),
    identities: identitiesOf(workload, service, trace),
  };
}

type Refused = OutboundDecision & { readonly kind: "refuse" };

function refuse(
  reason: OutboundRefusal,
  trace: TraceStep[],
  about: Pick<Refused, "endpoint" | "hostname"> = {},
): Refused {
  trace.push({ code: "refused", reason });
  return { kind: "refuse", reason, ...about, trace };
}
