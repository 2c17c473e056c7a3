/** Which endpoints of a service a kind of client may be given, told once for all clients that it would be told alike. */
import type { LoadBalancingRule, LocalityScope } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { EndpointQuery } from "./choose-endpoint.ts";
import type { EndpointView } from "./endpoint-index.ts";

/** The nearest of those that take the port, each with its port and the sum of the capacities up to it. */
export interface Eligible {
  readonly workloads: readonly MeshWorkload[];
  readonly ports: readonly number[];
  readonly sums: readonly number[];
  /** How many could be used, near or far. */
  readonly usable: number;
  /** How many could be used if they had the port. */
  readonly portless: number;
}

/** The same list as long as neither the endpoints nor the service change, so that a connection costs no look at each. */
export function eligibleOf(view: EndpointView, query: EndpointQuery): Eligible {
  const isShared = view.workloads.size > fewEndpoints && (query.exclude?.size ?? 0) === 0;
  return isShared ? view.remembered(query.service, kindOf(query), () => consider(view, query)) : consider(view, query);
}

function consider({ workloads }: EndpointView, query: EndpointQuery): Eligible {
  const { service, servicePort, source } = query;
  const targetPort = service.ports.find((mapping) => mapping.servicePort === servicePort)?.targetPort ?? 0;
  const rule = service.loadBalancing;
  let usable = 0;
  let portless = 0;
  let nearest: MeshWorkload[] = [];
  let ports: number[] = [];
  let nearestRank = -1;
  for (const workload of workloads.values()) {
    if (query.exclude?.has(workload.uid) || workload.capacity <= 0 || !isReachable(workload, source)) continue;
    const port =
      portOf(workload, service.key, servicePort, targetPort) ??
      // A waypoint's pods behind an application tunnel take whatever port was asked for.
      (query.purpose === "waypoint" && workload.applicationTunnel?.port !== undefined ? servicePort : undefined);
    if (port === undefined) {
      portless++;
      continue;
    }
    usable++;
    const rank = rankOf(rule, source, workload);
    if (rank === undefined || rank < nearestRank) continue;
    if (rank > nearestRank) [nearest, ports] = [[], []];
    nearestRank = rank;
    nearest.push(workload);
    ports.push(port);
  }
  let sum = 0;
  const sums = nearest.map(({ capacity }) => (sum += capacity));
  return { workloads: nearest, ports, sums, usable, portless };
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

/** Everything of the query that `consider` looks at, beside the service itself. */
function kindOf({ service, servicePort, purpose, source }: EndpointQuery): string {
  const { network, locality, node, clusterId } = source;
  const asked = `${purpose} ${servicePort} ${network}`;
  if (!isLocal(service.loadBalancing)) return asked;
  return [asked, locality.region, locality.zone, locality.subzone, node, clusterId].join("\n");
}

function isLocal(rule: LoadBalancingRule | undefined): rule is LoadBalancingRule {
  return rule?.mode === "strict" || rule?.mode === "failover";
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
  if (!isLocal(rule)) return 0;
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

/** So few are looked at in less time than it takes to remember. */
const fewEndpoints = 16;
