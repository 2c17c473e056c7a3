/** Workloads that are no pods: WorkloadEntries, endpoints written into ServiceEntries, and slices filled by hand. */
import { canonicalIp } from "../../../core/base/ip.ts";
import {
  NetworkMode,
  WorkloadStatus,
  WorkloadType,
  type Locality,
  type Workload,
} from "../../../core/protocol/generated/workload.ts";
import type { EntryEndpoint, ServiceEntry, WorkloadEntry } from "../../sources/objects.ts";
import { attachedPolicies } from "./attached-policies.ts";
import { accountMark, bindingOf, waypointAddress, type Binding } from "./bindings.ts";
import type { Reader } from "./collections.ts";
import type { Inputs } from "./inputs.ts";
import { entryPortsAtEndpoint, portsAtWorkloadEntry, portsInSlice } from "./ports.ts";
import { addressBytes } from "./resources.ts";
import { isMeshService } from "./services.ts";
import {
  blankWorkload,
  canonicalName,
  Memberships,
  ownHosts,
  selectingEntries,
  selectingServices,
} from "./workloads.ts";

/** The entry's workload, if it has an address, and what became of its wish for a waypoint. */
export function deriveWorkloadEntry(
  reader: Reader,
  inputs: Inputs,
  entry: WorkloadEntry,
): { workload: Workload | undefined; binding: Binding } {
  const { name, namespace } = entry.metadata;
  const labels = { ...entry.metadata.labels, ...entry.spec.labels };
  const memberships = new Memberships(inputs);
  for (const { entry: selecting, hosts } of selectingEntries(reader, inputs, namespace, labels))
    for (const host of hosts) memberships.add(namespace, host, entryPortsAtEndpoint(selecting, entry.spec));
  for (const service of selectingServices(reader, inputs, namespace, labels))
    memberships.addService(service, portsAtWorkloadEntry(service, entry.spec));
  const binding = bindingOf(reader, inputs, { ...entry.metadata, labels }, "workload", entry.spec.serviceAccount);
  if (entry.spec.address === "") return { workload: undefined, binding };
  const uid = `${inputs.config.clusterId}/networking.istio.io/WorkloadEntry/${namespace}/${name}`;
  const workload: Workload = {
    ...blankWorkload(inputs, uid, namespace, name),
    ...endpointFields(reader, inputs, entry.spec),
    ...canonicalName(labels, name),
    workloadType: WorkloadType.POD,
    workloadName: name,
    authorizationPolicies: attachedPolicies(reader, inputs, namespace, labels),
    waypoint: waypointAddress(reader, inputs, binding),
    extensions: accountMark(binding),
    services: memberships.build(),
  };
  return { workload, binding };
}

/** One workload per endpoint; without any, a name that DNS resolves is its own endpoint. */
export function deriveEntryEndpoints(reader: Reader, inputs: Inputs, key: string): Workload[] {
  const entry = inputs.serviceEntries.get(reader, key);
  if (entry === undefined) return [];
  const hosts = ownHosts(reader, inputs, entry);
  if (hosts.length === 0) return [];
  const { endpoints, workloadSelector, resolution } = entry.spec;
  if (endpoints.length > 0) {
    // Two endpoints of one address have one name: the first counts.
    const byAddress = new Map(endpoints.toReversed().map((endpoint) => [endpoint.address, endpoint]));
    return [...byAddress.values()].map((endpoint) => entryWorkload(reader, inputs, entry, endpoint, hosts));
  }
  const isResolved = resolution === "DNS" || resolution === "DNS_ROUND_ROBIN" || resolution === "DYNAMIC_DNS";
  if (!isResolved || Object.keys(workloadSelector).length > 0) return [];
  return hosts.map((host) => ({
    ...entryWorkload(reader, inputs, entry, implicit(host), [host]),
    waypoint: undefined,
  }));
}

/** Endpoints of a slice that are no pods: they have an address and a port, and no identity. */
export function deriveSlice(reader: Reader, inputs: Inputs, key: string): Workload[] {
  const slice = inputs.slices.get(reader, key);
  if (slice === undefined || !(slice.addressType === "IPv4" || slice.addressType === "IPv6")) return [];
  const { name, namespace } = slice.metadata;
  const serviceName = slice.metadata.labels["kubernetes.io/service-name"];
  if (serviceName === undefined) return [];
  const service = inputs.services.get(reader, `${namespace}/${serviceName}`);
  if (service === undefined || !isMeshService(service)) return [];
  const memberships = new Memberships(inputs);
  memberships.addService(service, portsInSlice(service, slice));
  const byAddress = new Map<string, Workload>();
  for (const { addresses, ready, targetRef } of slice.endpoints) {
    if (targetRef?.kind === "Pod") continue;
    for (const address of addresses) {
      if (canonicalIp(address) === undefined || byAddress.has(address)) continue;
      const uid = `${inputs.config.clusterId}/discovery.k8s.io/EndpointSlice/${namespace}/${name}/${address}`;
      byAddress.set(address, {
        ...blankWorkload(inputs, uid, namespace, name),
        addresses: [addressBytes(address)],
        network: inputs.network(reader),
        status: ready ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
        networkMode: NetworkMode.HOST_NETWORK,
        services: memberships.build(),
      });
    }
  }
  return [...byAddress.values()];
}

function entryWorkload(
  reader: Reader,
  inputs: Inputs,
  entry: ServiceEntry,
  endpoint: EntryEndpoint,
  hosts: readonly string[],
): Workload {
  const { name, namespace } = entry.metadata;
  const uid = `${inputs.config.clusterId}/networking.istio.io/ServiceEntry/${namespace}/${name}/${endpoint.address}`;
  const memberships = new Memberships(inputs);
  for (const host of hosts) memberships.add(namespace, host, entryPortsAtEndpoint(entry, endpoint));
  return {
    ...blankWorkload(inputs, uid, namespace, name),
    ...endpointFields(reader, inputs, endpoint),
    // Telemetry knows the endpoints by their entry; selectors judge each by its own labels, and by none if it has none.
    ...canonicalName(entry.metadata.labels, name),
    workloadType: WorkloadType.POD,
    workloadName: name,
    authorizationPolicies: attachedPolicies(reader, inputs, namespace, endpoint.labels),
    waypoint: waypointAddress(reader, inputs, bindingOf(reader, inputs, entry.metadata, "workload")),
    services: memberships.build(),
  };
}

function endpointFields(
  reader: Reader,
  inputs: Inputs,
  endpoint: EntryEndpoint,
): Pick<Workload, "addresses" | "hostname" | "network" | "serviceAccount" | "locality" | "capacity"> {
  const isIp = canonicalIp(endpoint.address) !== undefined;
  return {
    addresses: isIp ? [addressBytes(endpoint.address)] : [],
    hostname: isIp ? "" : endpoint.address,
    network: endpoint.network === "" ? inputs.network(reader) : endpoint.network,
    serviceAccount: endpoint.serviceAccount,
    locality: parseLocality(endpoint.locality),
    capacity: endpoint.weight,
  };
}

function implicit(host: string): EntryEndpoint {
  return { address: host, ports: {}, labels: {}, network: "", locality: "", serviceAccount: "" };
}

/** `region/zone/subzone` */
function parseLocality(text: string): Locality | undefined {
  if (text === "") return undefined;
  const [region = "", zone = "", subzone = ""] = text.split("/");
  return { region, zone, subzone };
}
