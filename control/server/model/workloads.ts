/** What all kinds of workloads have in common. */
import {
  NetworkMode,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
  type Port,
  type Workload,
} from "../../../core/protocol/generated/workload.ts";
import { labelsMatch, type Labels, type Service, type ServiceEntry } from "../../sources/objects.ts";
import type { Reader } from "./collections.ts";
import { selecting, serviceHostname, type Inputs } from "./inputs.ts";
import { sorted } from "./resources.ts";
import { claimantOf, isMeshService } from "./services.ts";

/** A healthy workload of which nothing is known but what every source says. */
export function blankWorkload(inputs: Inputs, uid: string, namespace: string, name: string): Workload {
  const { clusterId, trustDomain } = inputs.config;
  return {
    uid,
    name,
    namespace,
    addresses: [],
    hostname: "",
    network: "",
    tunnelProtocol: TunnelProtocol.NONE,
    // Empty says cluster.local.
    trustDomain: trustDomain === "cluster.local" ? "" : trustDomain,
    serviceAccount: "",
    waypoint: undefined,
    networkGateway: undefined,
    node: "",
    canonicalName: "",
    canonicalRevision: "",
    workloadType: WorkloadType.DEPLOYMENT,
    workloadName: "",
    nativeTunnel: false,
    applicationTunnel: undefined,
    services: {},
    authorizationPolicies: [],
    status: WorkloadStatus.HEALTHY,
    clusterId,
    locality: undefined,
    networkMode: NetworkMode.STANDARD,
    extensions: [],
    capacity: undefined,
  };
}

/** Name and version as telemetry groups by them. */
export function canonicalName(
  labels: Labels,
  workloadName: string,
): { canonicalName: string; canonicalRevision: string } {
  const first = (...keys: string[]): string | undefined =>
    keys.map((key) => labels[key]).find((value) => value !== undefined);
  return {
    canonicalName: first("service.istio.io/canonical-name", "app.kubernetes.io/name", "app") ?? workloadName,
    canonicalRevision: first("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version") ?? "latest",
  };
}

/** The Services of a namespace that select these labels. */
export function selectingServices(reader: Reader, inputs: Inputs, namespace: string, labels: Labels): Service[] {
  return selecting(
    reader,
    inputs.services,
    namespace,
    labels,
    (service) => isMeshService(service) && labelsMatch(service.spec.selector, labels),
  );
}

/** The ServiceEntries of a namespace that select these labels, with the hosts that are really theirs. */
export function selectingEntries(
  reader: Reader,
  inputs: Inputs,
  namespace: string,
  labels: Labels,
): { entry: ServiceEntry; hosts: string[] }[] {
  return selecting(reader, inputs.serviceEntries, namespace, labels, (entry) =>
    labelsMatch(entry.spec.workloadSelector, labels),
  ).map((entry) => ({ entry, hosts: ownHosts(reader, inputs, entry) }));
}

/** Those of an entry's hosts that nobody with an older or better claim has. */
export function ownHosts(reader: Reader, inputs: Inputs, entry: ServiceEntry): string[] {
  return [...new Set(entry.spec.hosts)].filter((host) => {
    const claimant = claimantOf(reader, inputs, `${entry.metadata.namespace}/${host}`);
    return claimant?.kind === "ServiceEntry" && claimant.metadata.name === entry.metadata.name;
  });
}

/** A workload's services by `namespace/hostname`, in order. */
export class Memberships {
  readonly #ports = new Map<string, Port[]>();
  readonly #inputs: Inputs;

  constructor(inputs: Inputs) {
    this.#inputs = inputs;
  }

  addService(service: Service, ports: Port[]): void {
    this.add(service.metadata.namespace, serviceHostname(service, this.#inputs.config), ports);
  }

  add(namespace: string, hostname: string, ports: Port[]): void {
    this.#ports.set(`${namespace}/${hostname}`, ports);
  }

  build(): Workload["services"] {
    return sorted([...this.#ports].map(([key, ports]) => [key, { ports }] as const));
  }
}
