/** A service: a hostname, its virtual addresses and how its ports lead to workloads (istio.workload.Service), parsed once. */
import type { Extension, LoadBalancing, NetworkAddress, Service } from "../generated/workload.ts";
import { addressOf, allOf, enumOf, portMappings, prefixOf, required, serviceKeyOf } from "./fields.ts";
import type { PortMapping, Prefix } from "./fields.ts";
import { gatewayOf, type GatewayRef } from "./gateway.ts";
import { WdsError } from "./wds-error.ts";

export interface MeshService {
  /** `namespace/hostname`, also the xDS resource name. */
  readonly key: string;
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  /** Exact virtual addresses, canonical text. */
  readonly vips: readonly { readonly network: string; readonly address: string }[];
  /** Virtual prefixes shorter than one host. */
  readonly cidrVips: readonly (Prefix & { readonly network: string })[];
  readonly ports: readonly PortMapping[];
  /** Further identities its endpoints may show, as sent (not all need be SPIFFE). */
  readonly subjectAltNames: readonly string[];
  readonly waypoint?: GatewayRef;
  readonly weightedWaypoints: readonly { readonly destination: GatewayRef; readonly weight: number }[];
  /** Its endpoints take connections on its ports from its waypoint only. */
  readonly waypointRequired?: true;
  readonly loadBalancing?: LoadBalancingRule;
  readonly ipFamilies: "automatic" | "ipv4" | "ipv6" | "dual";
  /** Preferred among services that share an address or hostname. */
  readonly canonical: boolean;
  /** "namespace": clients of other namespaces do not see it. */
  readonly visibility: "public" | "namespace";
}

/**
 * The name of an entry in Service.extensions (field 10) that says: endpoints take connections on this service's ports from its
 * waypoint only. Without a waypoint in the record nobody can be it, and the ports are closed. Its config is not looked at.
 * Ours: other agents skip extensions they do not know.
 */
export const waypointRequired = "ambientd.io/waypoint-required";

export type LocalityScope = "region" | "zone" | "subzone" | "node" | "cluster" | "network";

export interface LoadBalancingRule {
  readonly mode: "any" | "strict" | "failover" | "passthrough";
  /** Scopes in order of preference. */
  readonly preferences: readonly LocalityScope[];
  readonly allowUnhealthy: boolean;
}

/** The parsed service, or the first field that cannot be accepted. */
export function parseService(message: Service): MeshService | WdsError {
  const namespace = required("namespace", message.namespace);
  if (namespace instanceof WdsError) return namespace;
  const key = serviceKeyOf("hostname", `${namespace}/${message.hostname}`);
  if (key instanceof WdsError) return key;
  const addresses = allOf(message.addresses, virtualAddress);
  if (addresses instanceof WdsError) return addresses;
  const ports = portMappings("ports", message.ports);
  if (ports instanceof WdsError) return ports;
  const waypoint = gatewayOf("waypoint", message.waypoint);
  if (waypoint instanceof WdsError) return waypoint;
  const weightedWaypoints = allOf(message.weightedWaypoints, (weighted) => {
    const destination = gatewayOf("weighted_waypoints", weighted.destination);
    if (destination instanceof WdsError) return destination;
    if (destination === undefined) {
      return new WdsError({ code: "wds.missing", field: "weighted_waypoints.destination" });
    }
    return { destination, weight: weighted.weight };
  });
  if (weightedWaypoints instanceof WdsError) return weightedWaypoints;
  const loadBalancing = loadBalancingOf(message.loadBalancing);
  if (loadBalancing instanceof WdsError) return loadBalancing;
  const ipFamilies = enumOf("ip_families", message.ipFamilies, ipFamilyWords);
  if (ipFamilies instanceof WdsError) return ipFamilies;
  return {
    key,
    name: message.name,
    namespace,
    hostname: message.hostname,
    vips: addresses.flatMap((one) => ("address" in one ? [one] : [])),
    cidrVips: addresses.flatMap((one) => ("prefix" in one ? [one] : [])),
    ports,
    subjectAltNames: message.subjectAltNames,
    ...(waypoint && { waypoint }),
    weightedWaypoints,
    ...(message.extensions.some(asksForWaypoint) && { waypointRequired: true as const }),
    ...(loadBalancing && { loadBalancing }),
    ipFamilies,
    canonical: message.canonical,
    // A visibility this version does not know counts as public (agent-wire 4.4).
    visibility: message.visibility === 1 ? "namespace" : "public",
  };
}

function asksForWaypoint({ name }: Extension): boolean {
  return name === waypointRequired;
}

type VirtualAddress = MeshService["vips"][number] | MeshService["cidrVips"][number];

/** An absent length, or that of one host, is an exact address. */
function virtualAddress(message: NetworkAddress): VirtualAddress | WdsError {
  const { network, length } = message;
  if (length !== undefined && length !== message.address.length * 8) {
    const prefix = prefixOf("addresses", message.address, length);
    return prefix instanceof WdsError ? prefix : { network, ...prefix };
  }
  const address = addressOf("addresses", message.address);
  return address instanceof WdsError ? address : { network, address };
}

function loadBalancingOf(message: LoadBalancing | undefined): LoadBalancingRule | undefined | WdsError {
  if (message === undefined) return undefined;
  const mode = enumOf("load_balancing.mode", message.mode, modes);
  if (mode instanceof WdsError) return mode;
  const preferences = allOf(message.routingPreference, (scope) =>
    enumOf("load_balancing.routing_preference", scope, scopes),
  );
  if (preferences instanceof WdsError) return preferences;
  const health = enumOf("load_balancing.health_policy", message.healthPolicy, healthPolicies);
  if (health instanceof WdsError) return health;
  return { mode, preferences, allowUnhealthy: health === "allow-all" };
}

// Indexed by enum number. UNSPECIFIED_SCOPE (0) says nothing and is refused.
const scopes = [undefined, "region", "zone", "subzone", "node", "cluster", "network"] as const;
const modes = ["any", "strict", "failover", "passthrough"] as const;
const healthPolicies = ["only-healthy", "allow-all"] as const;
const ipFamilyWords = ["automatic", "ipv4", "ipv6", "dual"] as const;
