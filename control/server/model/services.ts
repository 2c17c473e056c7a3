/** Services and ServiceEntries as agents know them: one per namespace and host name, whoever claims it. */
import {
  IPFamilies,
  LoadBalancing_HealthPolicy as HealthPolicy,
  LoadBalancing_Mode as Mode,
  LoadBalancing_Scope as Scope,
  Service_Visibility as Visibility,
  type LoadBalancing,
  type NetworkAddress,
  type Service as ServiceMessage,
} from "../../../core/protocol/generated/workload.ts";
import { canonicalIp } from "../../../core/base/ip.ts";
import type { Labels, ObjectMeta, Service, ServiceEntry } from "../../sources/objects.ts";
import { bindingOf, requirementMark, waypointAddress } from "./bindings.ts";
import { canaryOf, weightedWaypoints } from "./canary.ts";
import type { Reader } from "./collections.ts";
import { byAge, keyOf, serviceHostname, type Inputs } from "./inputs.ts";
import { entryPorts, servicePorts } from "./ports.ts";
import { addressBytes, networkAddress } from "./resources.ts";

export type Claimant = Service | ServiceEntry;

/** Who a host name of a namespace belongs to: a Service before any ServiceEntry, the oldest ServiceEntry before others. */
export function claimantOf(reader: Reader, inputs: Inputs, key: string): Claimant | undefined {
  const services = inputs.services.lookup(reader, "claim", key).filter(isMeshService);
  return services[0] ?? inputs.serviceEntries.lookup(reader, "claim", key).sort(byAge)[0];
}

/** Whether a Service is more than a DNS alias. */
export function isMeshService(service: Service): boolean {
  return service.spec.type !== "ExternalName";
}

/** @param key `namespace/hostname` */
export function deriveService(reader: Reader, inputs: Inputs, key: string): ServiceMessage | undefined {
  const claimant = claimantOf(reader, inputs, key);
  if (claimant === undefined) return undefined;
  const hostname = key.slice(key.indexOf("/") + 1);
  const binding = bindingOf(reader, inputs, claimant.metadata, "service");
  const canary = canaryOf(reader, inputs, claimant.metadata, binding);
  const own =
    claimant.kind === "Service" ? fromService(reader, inputs, claimant) : fromEntry(reader, inputs, claimant, hostname);
  return {
    ...own,
    name: claimant.metadata.name,
    namespace: claimant.metadata.namespace,
    hostname,
    waypoint: waypointAddress(reader, inputs, binding),
    extensions: requirementMark(reader, inputs, claimant.metadata, binding),
    canonical: isCanonical(reader, inputs, claimant, hostname),
    ingressUseWaypoint: binding.kind === "bound" && ingressUsesWaypoint(reader, inputs, claimant.metadata),
    weightedWaypoints: weightedWaypoints(reader, inputs, binding, canary),
    visibility: Visibility.PUBLIC,
  };
}

type Own = Pick<ServiceMessage, "addresses" | "ports" | "subjectAltNames" | "loadBalancing" | "ipFamilies">;

function fromService(reader: Reader, inputs: Inputs, service: Service): Own {
  const { clusterIPs, internalTrafficPolicy, publishNotReadyAddresses } = service.spec;
  const network = inputs.network(reader);
  const healthPolicy = publishNotReadyAddresses ? HealthPolicy.ALLOW_ALL : HealthPolicy.ONLY_HEALTHY;
  const preference =
    internalTrafficPolicy === "Local"
      ? { routingPreference: [Scope.NODE], mode: Mode.STRICT }
      : distribution(reader, inputs, service.metadata, service.spec.trafficDistribution);
  return {
    addresses: clusterIPs.map((ip) => networkAddress(network, ip)),
    ports: servicePorts(service),
    subjectAltNames: [],
    loadBalancing: loadBalancing(preference, healthPolicy),
    ipFamilies: familiesOf(service),
  };
}

function fromEntry(reader: Reader, inputs: Inputs, entry: ServiceEntry, hostname: string): Own {
  const network = inputs.network(reader);
  const passthrough = entry.spec.resolution === "NONE";
  return {
    addresses: entryAddresses(entry, hostname, network),
    ports: entryPorts(entry),
    subjectAltNames: [...entry.spec.subjectAltNames],
    loadBalancing: passthrough
      ? { routingPreference: [], mode: Mode.PASSTHROUGH, healthPolicy: HealthPolicy.ALLOW_ALL }
      : loadBalancing(distribution(reader, inputs, entry.metadata, undefined), HealthPolicy.ONLY_HEALTHY),
    ipFamilies: IPFamilies.AUTOMATIC,
  };
}

/** The addresses that were written down; else those that were allocated for the host. */
function entryAddresses(entry: ServiceEntry, hostname: string, network: string): NetworkAddress[] {
  if (entry.spec.addresses.length > 0) {
    return entry.spec.addresses.map(({ address, length }) => {
      const bytes = addressBytes(address);
      return length === bytes.length * 8 ? { network, address: bytes } : { network, address: bytes, length };
    });
  }
  return entry.status.addresses
    .filter(({ host }) => host === hostname)
    .map(({ value }) => networkAddress(network, value));
}

/** Across namespaces a host name has one owner that stands for it: a Service, else the oldest ServiceEntry. */
function isCanonical(reader: Reader, inputs: Inputs, claimant: Claimant, hostname: string): boolean {
  if (claimant.kind === "Service") return true;
  if (inputs.services.lookup(reader, "claim", hostname).some(isMeshService)) return false;
  const oldest = inputs.serviceEntries.lookup(reader, "claim", hostname).sort(byAge)[0];
  return oldest !== undefined && keyOf(oldest) === keyOf(claimant);
}

function ingressUsesWaypoint(reader: Reader, inputs: Inputs, meta: ObjectMeta): boolean {
  const label = "istio.io/ingress-use-waypoint";
  const value = meta.labels[label] ?? inputs.namespace(reader, meta.namespace).labels[label];
  return value === "true";
}

type Preference = Pick<LoadBalancing, "routingPreference" | "mode">;

/** Which endpoints to prefer: said by the Service, by an annotation of it, or by one of its namespace. */
function distribution(
  reader: Reader,
  inputs: Inputs,
  meta: ObjectMeta,
  wanted: string | undefined,
): Preference | undefined {
  const annotation = "networking.istio.io/traffic-distribution";
  const annotated = (annotations: Labels): string | undefined => annotations[annotation];
  const word = wanted ?? annotated(meta.annotations) ?? annotated(inputs.namespace(reader, meta.namespace).annotations);
  switch (word) {
    case "PreferClose":
    case "PreferSameZone":
      return { routingPreference: [Scope.NETWORK, Scope.REGION, Scope.ZONE], mode: Mode.FAILOVER };
    case "PreferSameNode":
      return {
        routingPreference: [Scope.NETWORK, Scope.REGION, Scope.ZONE, Scope.SUBZONE, Scope.NODE],
        mode: Mode.FAILOVER,
      };
    default:
      return undefined;
  }
}

function loadBalancing(preference: Preference | undefined, healthPolicy: HealthPolicy): LoadBalancing | undefined {
  if (preference === undefined && healthPolicy === HealthPolicy.ONLY_HEALTHY) return undefined;
  return { ...(preference ?? { routingPreference: [], mode: Mode.UNSPECIFIED_MODE }), healthPolicy };
}

/** As declared; where a manifest leaves it open, as its addresses show. */
function familiesOf(service: Service): IPFamilies {
  const { ipFamilies, clusterIPs } = service.spec;
  const families = new Set<string>(
    ipFamilies.length > 0 ? ipFamilies : clusterIPs.map((ip) => (canonicalIp(ip)?.includes(":") ? "IPv6" : "IPv4")),
  );
  if (families.size === 2) return IPFamilies.DUAL;
  if (families.has("IPv4")) return IPFamilies.IPV4_ONLY;
  return families.has("IPv6") ? IPFamilies.IPV6_ONLY : IPFamilies.AUTOMATIC;
}

/** Every `namespace/hostname` an object claims. */
export function claimsOf(object: Claimant, inputs: Inputs): string[] {
  const { namespace } = object.metadata;
  return object.kind === "Service"
    ? [`${namespace}/${serviceHostname(object, inputs.config)}`]
    : object.spec.hosts.map((host) => `${namespace}/${host}`);
}
