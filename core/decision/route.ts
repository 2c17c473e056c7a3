/** Where a captured connection goes (agent-wire 1.7, steps A to G): a pure function from the mesh and one connection's facts to a route or a refusal. */
import { formatEndpoint, isLoopback, type Endpoint } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import { formatIdentity, parseIdentity, SpiffeError } from "../protocol/spiffe/identity.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { chooseAddress } from "./choose-address.ts";
import { chooseEndpoint } from "./choose-endpoint.ts";
import type { CloseCode } from "./close-reasons.ts";
import { hbonePort, isOwnPort } from "./own-ports.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";
import { chooseWaypoint, describeGateway, isMember, waypointOf } from "./waypoint.ts";

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
  /** What hostnames of endpoints resolve to, as far as known; asked without waiting. */
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
  | {
      readonly kind: "refuse";
      readonly reason: OutboundRefusal;
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

export type OutboundRefusal = Extract<
  CloseCode,
  | "RECURSIVE_CALL"
  | "NO_HEALTHY_UPSTREAM"
  | "NO_SERVICE_PORT"
  | "UNKNOWN_WAYPOINT"
  | "NO_HEALTHY_WAYPOINT"
  | "CROSS_NETWORK_ADDRESS"
  | "NO_NETWORK_GATEWAY"
  | "GATEWAY_UNSUPPORTED"
  | "NO_USABLE_ADDRESS"
  | "HOSTNAME_UNRESOLVED"
>;

interface Upstream {
  readonly workload: MeshWorkload;
  readonly port: number;
  /** The service through which it was chosen. */
  readonly service?: MeshService;
}

export function decideOutbound(state: MeshState, facts: OutboundFacts): OutboundDecision {
  const { source, target, network } = facts;
  const trace: TraceStep[] = [];
  if (isLoopback(target.address) && isOwnPort(target.port)) return refuse("RECURSIVE_CALL", trace);

  // A: what is addressed? A workload's own address comes before a service's prefix around it.
  const addressedWorkload = state.workloadByAddress(network, target.address);
  const addressedService = state.serviceByAddress(network, target.address, source.namespace);
  const service = addressedWorkload ? undefined : addressedService?.service;
  if (service) {
    const by = addressedService?.by ?? "vip";
    trace.push({ code: "target-is-service", service: service.key, by });
    const waypoint = waypointOf(service, facts.random, trace);
    if (waypoint) {
      const route = routeByWaypoint(state, facts, waypoint, service, undefined, trace);
      if (route) return route;
    }
  } else if (addressedWorkload) {
    trace.push({ code: "target-is-workload", workload: addressedWorkload.uid });
  }

  // B: which workload takes it? Here a service comes first, even one that covers a workload's address with a prefix.
  const balanced = addressedService?.service;
  const isPassthrough = balanced?.loadBalancing?.mode === "passthrough";
  let upstream: Upstream | undefined;
  if (balanced && !isPassthrough) {
    const choice = chooseEndpoint(
      state,
      { ...facts, service: balanced, servicePort: target.port, purpose: "service" },
      trace,
    );
    // C: a service without an endpoint refuses. Passing the connection on as it is would leave the mesh in clear text.
    if (choice.kind === "none") return refuse(choice.reason, trace);
    upstream = { workload: choice.workload, port: choice.port, service: balanced };
  } else if (addressedWorkload) {
    // A passthrough prefix around a known workload keeps the destination, but not at the price of its encryption.
    upstream = { workload: addressedWorkload, port: target.port };
  }
  if (upstream === undefined) {
    if (!isPassthrough) trace.push({ code: "target-is-unknown", network, address: target.address });
    trace.push({ code: "kept-as-it-is", because: isPassthrough ? "passthrough-service" : "unknown-address" });
    return { kind: "passthrough", target, trace };
  }

  // D: another network is reached by service only, and E: through its gateway.
  if (upstream.workload.network !== source.network) {
    return upstream.service ? refuseGateway(upstream.workload, trace) : refuse("CROSS_NETWORK_ADDRESS", trace);
  }

  // F: a workload's waypoint serves those who address the workload itself.
  const { workload } = upstream;
  if (!upstream.service && workload.waypoint) {
    const route = routeByWaypoint(state, facts, workload.waypoint, undefined, workload, trace);
    if (route) return route;
  }
  return routeDirect(upstream, facts, trace); // G
}

/** Undefined where the source is itself that waypoint: its traffic is past it already, and would come back for ever. */
function routeByWaypoint(
  state: MeshState,
  facts: OutboundFacts,
  reference: GatewayRef,
  service: MeshService | undefined,
  destination: MeshWorkload | undefined,
  trace: TraceStep[],
): OutboundDecision | undefined {
  const of = service?.key ?? destination?.uid ?? "";
  if (isMember(state, facts.source, reference)) {
    trace.push({ code: "waypoint-is-source", of, reference: describeGateway(reference) });
    return undefined;
  }
  const waypoint = chooseWaypoint(state, reference, of, facts, trace);
  if (waypoint.kind === "none") return refuse(waypoint.reason, trace);
  const { workload } = waypoint;
  if (workload.network !== facts.source.network) return refuseGateway(workload, trace);
  const address = chooseAddress(workload, waypoint.service, facts, trace);
  if (address.kind === "none") return refuse(address.reason, trace, address.hostname);
  return {
    kind: "hbone",
    via: "waypoint",
    workload,
    ...(service && { service }),
    tunnel: { address: address.address, port: waypoint.port },
    // The waypoint needs to know what was asked for: the service's own address and port, not an endpoint's.
    authority: formatEndpoint(facts.target),
    identities: identitiesOf(workload, waypoint.service, trace),
    target: facts.target,
    trace,
  };
}

function routeDirect(upstream: Upstream, facts: OutboundFacts, trace: TraceStep[]): OutboundDecision {
  const { workload, service, port } = upstream;
  const chosen = chooseAddress(workload, service, facts, trace);
  if (chosen.kind === "none") return refuse(chosen.reason, trace, chosen.hostname);
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

/** Step E ends here for now: a tunnel inside a tunnel is not built yet, and the raw address of another network means nothing on this one. */
function refuseGateway(workload: MeshWorkload, trace: TraceStep[]): OutboundDecision {
  const { networkGateway } = workload;
  trace.push({
    code: "other-network",
    workload: workload.uid,
    network: workload.network,
    gateway: networkGateway ? describeGateway(networkGateway) : "",
  });
  return refuse(networkGateway ? "GATEWAY_UNSUPPORTED" : "NO_NETWORK_GATEWAY", trace);
}

/** The workload's own identity, and what SPIFFE names its service adds. Names of other kinds prove nothing here. */
function identitiesOf(workload: MeshWorkload, service: MeshService | undefined, trace: TraceStep[]): string[] {
  const identities = [formatIdentity(workload)];
  for (const name of service?.subjectAltNames ?? []) {
    if (!(parseIdentity(name) instanceof SpiffeError)) identities.push(name);
    else if (service) trace.push({ code: "identity-ignored", service: service.key, name });
  }
  return identities;
}

function refuse(reason: OutboundRefusal, trace: TraceStep[], hostname?: string): OutboundDecision {
  trace.push({ code: "refused", reason });
  return { kind: "refuse", reason, ...(hostname !== undefined && { hostname }), trace };
}
