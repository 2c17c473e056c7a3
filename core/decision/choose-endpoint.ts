/** Which endpoint of a service a connection goes to (agent-wire 1.8): health, port, locality, then chance by capacity. */
import type { Random } from "../base/random.ts";
import type { LoadBalancingRule, LocalityScope, MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { CloseCode } from "./close-reasons.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";

export interface EndpointQuery {
  readonly source: MeshWorkload;
  readonly service: MeshService;
  readonly servicePort: number;
  /** A waypoint may take HBONE on a port its service does not declare, when its pods have an application tunnel. */
  readonly purpose: "service" | "waypoint";
  readonly random: Random;
  /** Uids not to be chosen: they have just failed. */
  readonly exclude?: ReadonlySet<string>;
}

/** An endpoint and the port to reach it on, or why there is none. */
export type EndpointChoice =
  | { readonly kind: "endpoint"; readonly workload: MeshWorkload; readonly port: number }
  | { readonly kind: "none"; readonly reason: Extract<CloseCode, "NO_SERVICE_PORT" | "NO_HEALTHY_UPSTREAM"> };

interface Candidate {
  readonly workload: MeshWorkload;
  readonly port: number;
}

/** @param trace gets the counts and the choice appended. */
export function chooseEndpoint(state: MeshState, query: EndpointQuery, trace: TraceStep[]): EndpointChoice {
  const { service, servicePort, source } = query;
  const declared = service.ports.find((mapping) => mapping.servicePort === servicePort);
  if (declared === undefined && query.purpose === "service") {
    trace.push({ code: "port-not-declared", service: service.key, port: servicePort });
    return { kind: "none", reason: "NO_SERVICE_PORT" };
  }
  const healthy = state.endpoints(service);
  const rule = service.loadBalancing;
  let usable = 0;
  let portless = 0;
  let nearest: Candidate[] = [];
  let nearestRank = -1;
  for (const workload of healthy.values()) {
    if (query.exclude?.has(workload.uid) || workload.capacity <= 0 || !isReachable(workload, source)) continue;
    const port =
      portOf(workload, service.key, servicePort, declared?.targetPort ?? 0) ??
      // A waypoint's pods behind an application tunnel take whatever port was asked for.
      (query.purpose === "waypoint" && workload.applicationTunnel?.port !== undefined ? servicePort : undefined);
    if (port === undefined) {
      portless++;
      continue;
    }
    usable++;
    const rank = rankOf(rule, source, workload);
    if (rank === undefined || rank < nearestRank) continue;
    if (rank > nearestRank) nearest = [];
    nearestRank = rank;
    nearest.push({ workload, port });
  }
  const counts = {
    known: state.endpointCount(service.key),
    healthy: healthy.size,
    usable,
    nearest: nearest.length,
  };
  trace.push({ code: "endpoints-considered", service: service.key, ...counts });
  const chosen = pickByCapacity(nearest, query.random);
  if (chosen === undefined) {
    return { kind: "none", reason: usable === 0 && portless > 0 ? "NO_SERVICE_PORT" : "NO_HEALTHY_UPSTREAM" };
  }
  const { workload, port } = chosen;
  trace.push({ code: "endpoint-chosen", service: service.key, workload: workload.uid, port });
  return { kind: "endpoint", workload, port };
}

/** The endpoint's own mapping, else the service's target port. 0 stands for a named port on either side and is none. */
export function portOf(
  workload: MeshWorkload,
  serviceKey: string,
  servicePort: number,
  targetPort: number,
): number | undefined {
  const mapped = workload.services.get(serviceKey)?.find((mapping) => mapping.servicePort === servicePort)?.targetPort;
  return mapped || targetPort || undefined;
}

/** By an address or a name; or on another network, through its gateway. */
function isReachable(workload: MeshWorkload, source: MeshWorkload): boolean {
  if (workload.addresses.length > 0 || workload.hostname !== "") return true;
  return workload.network !== source.network && workload.networkGateway !== undefined;
}

/**
 * How near an endpoint is: the number of leading preferences it shares with the client. Undefined: too far for a strict rule.
 * When the network is the first preference, one on another network still earns the rest, but never as much as one on this network.
 */
function rankOf(rule: LoadBalancingRule | undefined, source: MeshWorkload, workload: MeshWorkload): number | undefined {
  if (rule === undefined || rule.mode === "any" || rule.mode === "passthrough") return 0;
  const { preferences, mode } = rule;
  const networkFirst = preferences[0] === "network";
  let rank = 0;
  let matchesAll = true;
  for (const [at, scope] of preferences.entries()) {
    if (isShared(scope, source, workload)) {
      rank += at === 0 && networkFirst ? preferences.length : 1;
      continue;
    }
    matchesAll = false;
    if (!(at === 0 && networkFirst)) break;
  }
  return mode === "strict" && !matchesAll ? undefined : rank;
}

function isShared(scope: LocalityScope, source: MeshWorkload, workload: MeshWorkload): boolean {
  switch (scope) {
    case "region":
    case "zone":
    case "subzone":
      return source.locality[scope] === workload.locality[scope];
    case "node":
      return source.node === workload.node;
    case "cluster":
      return source.clusterId === workload.clusterId;
    case "network":
      return source.network === workload.network;
  }
}

function pickByCapacity(candidates: readonly Candidate[], random: Random): Candidate | undefined {
  let total = 0;
  for (const { workload } of candidates) total += workload.capacity;
  let left = random() * total;
  for (const candidate of candidates) {
    left -= candidate.workload.capacity;
    if (left < 0) return candidate;
  }
  // Rounding may leave a crumb at the very end.
  return candidates.at(-1);
}
