/** A pod or any other thing with an address that the mesh knows (istio.workload.Workload), parsed once. */
import type { ApplicationTunnel, Extension, PortList, Workload } from "../generated/workload.ts";
import { addressOf, allOf, enumOf, portMappings, portOf, required, serviceKeyOf, type PortMapping } from "./fields.ts";
import { gatewayOf, type GatewayRef } from "./gateway.ts";
import { WdsError } from "./wds-error.ts";

export interface MeshWorkload {
  /** Primary key and xDS resource name, `cluster//Pod/namespace/name` for a pod. Not the pod's Kubernetes uid. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Canonical text. Empty where only `hostname` or a network gateway leads there. */
  readonly addresses: readonly string[];
  readonly network: string;
  /** How others must reach it: inside HBONE to port 15008, or as it is. */
  readonly tunnel: "tcp" | "hbone";
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly waypoint?: GatewayRef | undefined;
  /** Present where the waypoint is that of its service account: it then also takes what is addressed to services without one. */
  readonly waypointScope?: "service-account";
  readonly networkGateway?: GatewayRef | undefined;
  readonly node: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: WorkloadKind;
  readonly workloadName: string;
  readonly nativeTunnel: boolean;
  /** `namespace/name` of the selector-scoped policies that apply to it. */
  readonly policies: readonly string[];
  readonly healthy: boolean;
  readonly clusterId: string;
  readonly hostname: string;
  /** Services it backs, by `namespace/hostname`. */
  readonly services: ReadonlyMap<string, readonly PortMapping[]>;
  readonly applicationTunnel?: { readonly protocol: "none" | "proxy"; readonly port?: number };
  readonly locality: Locality;
  /** Shares its node's address: never found by address. */
  readonly hostNetwork: boolean;
  /** Load-balancing weight; 0 takes no new connections. */
  readonly capacity: number;
}

/**
 * The name of an entry in Workload.extensions (field 26) that says: `waypoint` is that of the workload's service account.
 * Its config is not looked at. Ours: other agents skip extensions they do not know, and use such a waypoint for pod-addressed traffic only.
 */
export const serviceAccountWaypoint = "ambientd.io/service-account-waypoint";

export type WorkloadKind = "deployment" | "cronjob" | "pod" | "job";

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** The parsed workload, or the first field that cannot be accepted. Empty fields take WDS's defaults (agent-wire 4.7). */
export function parseWorkload(message: Workload): MeshWorkload | WdsError {
  const uid = required("uid", message.uid);
  if (uid instanceof WdsError) return uid;
  const namespace = required("namespace", message.namespace);
  if (namespace instanceof WdsError) return namespace;
  const addresses = allOf(message.addresses, (bytes) => addressOf("addresses", bytes));
  if (addresses instanceof WdsError) return addresses;
  const tunnel = enumOf("tunnel_protocol", message.tunnelProtocol, workloadWords.tunnels);
  if (tunnel instanceof WdsError) return tunnel;
  const workloadType = enumOf("workload_type", message.workloadType, workloadWords.kinds);
  if (workloadType instanceof WdsError) return workloadType;
  const status = enumOf("status", message.status, workloadWords.statuses);
  if (status instanceof WdsError) return status;
  const networkMode = enumOf("network_mode", message.networkMode, workloadWords.networkModes);
  if (networkMode instanceof WdsError) return networkMode;
  const waypoint = gatewayOf("waypoint", message.waypoint);
  if (waypoint instanceof WdsError) return waypoint;
  const networkGateway = gatewayOf("network_gateway", message.networkGateway);
  if (networkGateway instanceof WdsError) return networkGateway;
  const services = servicesOf(message.services);
  if (services instanceof WdsError) return services;
  const applicationTunnel = applicationTunnelOf(message.applicationTunnel);
  if (applicationTunnel instanceof WdsError) return applicationTunnel;
  return {
    uid,
    name: message.name,
    namespace,
    addresses,
    network: message.network,
    tunnel,
    trustDomain: message.trustDomain || "cluster.local",
    serviceAccount: message.serviceAccount || "default",
    ...(waypoint && { waypoint }),
    ...(waypoint && message.extensions.some(isAccountMark) && { waypointScope: "service-account" as const }),
    ...(networkGateway && { networkGateway }),
    node: message.node,
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    workloadType,
    workloadName: message.workloadName,
    nativeTunnel: message.nativeTunnel,
    policies: message.authorizationPolicies,
    healthy: status === "healthy",
    clusterId: message.clusterId || "Kubernetes",
    hostname: message.hostname,
    services,
    ...(applicationTunnel && { applicationTunnel }),
    locality: {
      region: message.locality?.region ?? "",
      zone: message.locality?.zone ?? "",
      subzone: message.locality?.subzone ?? "",
    },
    hostNetwork: networkMode === "host",
    capacity: message.capacity ?? 1,
  };
}

function isAccountMark({ name }: Extension): boolean {
  return name === serviceAccountWaypoint;
}

/** The services of a workload as a message has them: by key, each with its ports. */
export function servicesOf(
  services: Readonly<Record<string, PortList>>,
): ReadonlyMap<string, readonly PortMapping[]> | WdsError {
  const parsed = new Map<string, readonly PortMapping[]>();
  for (const [key, list] of Object.entries(services)) {
    const service = serviceKeyOf("services", key);
    if (service instanceof WdsError) return service;
    const ports = portMappings("services", list.ports);
    if (ports instanceof WdsError) return ports;
    parsed.set(service, ports);
  }
  return parsed;
}

function applicationTunnelOf(
  tunnel: ApplicationTunnel | undefined,
): MeshWorkload["applicationTunnel"] | undefined | WdsError {
  if (tunnel === undefined) return undefined;
  const protocol = enumOf("application_tunnel.protocol", tunnel.protocol, applicationProtocols);
  if (protocol instanceof WdsError) return protocol;
  const port = portOf("application_tunnel.port", tunnel.port);
  if (port instanceof WdsError) return port;
  return port === 0 ? { protocol } : { protocol, port };
}

/** Indexed by enum number. LEGACY_ISTIO_MTLS (2) has no word on purpose: it is refused. */
export const workloadWords = {
  tunnels: ["tcp", "hbone"],
  kinds: ["deployment", "cronjob", "pod", "job"],
  statuses: ["healthy", "unhealthy"],
  networkModes: ["standard", "host"],
} as const;
const applicationProtocols = ["none", "proxy"] as const;
