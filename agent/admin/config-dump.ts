/** What the agent knows, in the shape that `istioctl ztunnel-config` reads (agent-wire 9.3). Keys and tokens are never in it. */
import { X509Certificate } from "node:crypto";
import { formatIp } from "../../core/base/ip.ts";
import type { MeshState } from "../../core/decision/mesh-state.ts";
import type { Match, Policy } from "../../core/protocol/wds/authorization.ts";
import type { Prefix } from "../../core/protocol/wds/fields.ts";
import type { GatewayRef } from "../../core/protocol/wds/gateway.ts";
import type { LoadBalancingRule, MeshService } from "../../core/protocol/wds/service.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { WorkloadCertificate } from "../../control/client/certificates/certificate.ts";
import type { CertificateRow } from "../../control/client/certificates/manager.ts";
import type { XdsStatus } from "../../control/client/xds-session.ts";
import type { AgentConfig } from "../config.ts";
import type { ConnectionRow } from "../connection/registry.ts";
import type { PodRow } from "../pods.ts";
import type { Gate, WorkerDump } from "../worker-messages.ts";

export interface DumpSources {
  readonly state: MeshState;
  readonly policies: Iterable<Policy>;
  readonly certificates: readonly CertificateRow[];
  /** What is in hand of an identity, by SPIFFE URI. */
  readonly chainOf: (uri: string) => Pick<WorkloadCertificate, "chainPem" | "rootsPem"> | undefined;
  readonly pods: readonly PodRow[];
  readonly connections: readonly ConnectionRow[];
  readonly config: AgentConfig;
  readonly xds: XdsStatus;
  readonly gates: readonly Gate[];
  readonly workers: {
    readonly count: number;
    readonly losses: number;
    readonly tunnels: readonly ({ readonly worker: number } & WorkerDump["tunnels"])[];
  };
}

export function configDump(sources: DumpSources): Record<string, unknown> {
  const { state, config } = sources;
  return {
    workloads: [...state.workloads()].map(dumpWorkload),
    services: [...state.services()].map((service) => dumpService(service, state)),
    policies: [...sources.policies].map(dumpPolicy),
    stagedServices: {},
    staticConfig: { workloads: [], policies: [], services: [] },
    certificates: sources.certificates.map((row) => dumpCertificate(row, sources.chainOf(row.identity))),
    workloadState: Object.fromEntries(sources.pods.map((pod) => [pod.uid, dumpPod(pod, sources.connections)])),
    xds: sources.xds,
    readiness: sources.gates,
    workers: sources.workers,
    version: { version, buildStatus: "Clean", gitTag: version },
    config: { ...config, authToken: undefined, xds: withoutHeaders(config.xds), ca: withoutHeaders(config.ca) },
  };
}

function dumpWorkload(workload: MeshWorkload): Record<string, unknown> {
  const { waypoint, networkGateway, applicationTunnel } = workload;
  return {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    workloadIps: workload.addresses,
    protocol: workload.tunnel === "hbone" ? "HBONE" : "TCP",
    network: workload.network,
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    ...(waypoint && { waypoint: dumpGateway(waypoint) }),
    ...(networkGateway && { networkGateway: dumpGateway(networkGateway) }),
    ...(applicationTunnel && { applicationTunnel: dumpTunnel(applicationTunnel) }),
    workloadName: workload.workloadName,
    workloadType: workload.workloadType,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    hostname: workload.hostname,
    node: workload.node,
    nativeTunnel: workload.nativeTunnel,
    authorizationPolicies: workload.policies,
    status: workload.healthy ? "Healthy" : "Unhealthy",
    clusterId: workload.clusterId,
    locality: workload.locality,
    capacity: workload.capacity,
    networkMode: workload.hostNetwork ? "HostNetwork" : "Standard",
    services: [...workload.services.keys()],
  };
}

function dumpService(service: MeshService, state: MeshState): Record<string, unknown> {
  const endpoints = [...state.endpoints(service)].map(([uid, workload]) => [
    uid,
    {
      workloadUid: uid,
      service: service.key,
      status: workload.healthy ? "Healthy" : "Unhealthy",
      port: portMap(workload.services.get(service.key) ?? []),
    },
  ]);
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.vips.map(({ network, address }) => `${network}/${address}`),
    cidrVips: service.cidrVips.map((vip) => `${vip.network}/${prefixText(vip)}`),
    ports: portMap(service.ports),
    endpoints: Object.fromEntries(endpoints) as unknown,
    subjectAltNames: service.subjectAltNames,
    ...(service.waypoint && { waypoint: dumpGateway(service.waypoint) }),
    ...(service.loadBalancing && { loadBalancer: dumpLoadBalancing(service.loadBalancing) }),
    ipFamilies: service.ipFamilies,
    canonical: service.canonical,
    visibility: service.visibility,
  };
}

function dumpPolicy(policy: Policy): Record<string, unknown> {
  const { key, namespace, scope, action, dryRun, rules } = policy;
  return {
    name: key.slice(namespace.length + 1),
    namespace,
    scope: { global: "Global", namespace: "Namespace", selector: "WorkloadSelector" }[scope],
    action: action === "allow" ? "Allow" : "Deny",
    dryRun,
    rules: rules.map(({ clauses }) =>
      clauses.map(({ matches }) =>
        matches.map((match) =>
          Object.fromEntries(
            Object.entries(match)
              .filter(([, items]) => !Array.isArray(items) || items.length > 0)
              .map(([name, items]) => [name, (items as readonly MatchItem[]).map(dumpItem)]),
          ),
        ),
      ),
    ),
  };
}

function dumpCertificate(row: CertificateRow, chain: ReturnType<DumpSources["chainOf"]>): Record<string, unknown> {
  const { identity, held, lastError } = row;
  const without = lastError === undefined ? "Initializing" : `Unavailable: ${lastError.code}`;
  return {
    identity,
    state: held === undefined ? without : "Available",
    certChain: (chain?.chainPem ?? []).flatMap(dumpPem),
    rootCerts: dumpPem(chain?.rootsPem ?? ""),
    work: row.work,
    ...(row.nextAttempt !== undefined && { nextAttempt: new Date(row.nextAttempt).toISOString() }),
    ...(lastError && { lastError }),
  };
}

/** Every certificate of a PEM text. Serial numbers are decimal: istioctl reads them so. */
function dumpPem(text: string): Record<string, string>[] {
  const pems = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return pems.map((pem) => {
    const { serialNumber, validFromDate, validToDate } = new X509Certificate(pem);
    return {
      pem: Buffer.from(`${pem}\n`).toString("base64"),
      serialNumber: BigInt(`0x${serialNumber}`).toString(),
      validFrom: validFromDate.toISOString(),
      expirationTime: validToDate.toISOString(),
    };
  });
}

type MatchItem = Match[keyof Match][number];

function dumpItem(item: MatchItem): unknown {
  if (typeof item === "number") return item;
  if ("prefix" in item) return prefixText(item);
  if ("kind" in item) return item.kind === "presence" ? { Presence: {} } : { [capital(item.kind)]: item.value };
  return item;
}

function dumpTunnel({ protocol, port }: NonNullable<MeshWorkload["applicationTunnel"]>): Record<string, unknown> {
  return { protocol: protocol.toUpperCase(), ...(port !== undefined && { port }) };
}

function dumpLoadBalancing({ mode, preferences, allowUnhealthy }: LoadBalancingRule): Record<string, unknown> {
  return {
    mode: mode === "any" ? "Standard" : capital(mode),
    routingPreferences: preferences.map(capital),
    healthPolicy: allowUnhealthy ? "AllowAll" : "OnlyHealthy",
  };
}

function capital(word: string): string {
  return `${word.charAt(0).toUpperCase()}${word.slice(1)}`;
}

function dumpPod(pod: PodRow, connections: readonly ConnectionRow[]): Record<string, unknown> {
  const ofPod = connections.filter((connection) => connection.pod === pod.uid);
  const of = (direction: ConnectionRow["direction"]): Record<string, string>[] =>
    ofPod
      .filter((connection) => connection.direction === direction)
      .map(({ src, originalDst, actualDst, protocol }) => ({ src, originalDst, actualDst, protocol }));
  return {
    state: pod.state,
    ...(pod.error && { error: pod.error }),
    connections: { inbound: of("inbound"), outbound: of("outbound") },
    info: pod.info,
  };
}

/** `network/address` or `namespace/hostname`: istioctl takes nothing but text. */
function dumpGateway({ destination, port }: GatewayRef): Record<string, unknown> {
  const where =
    destination.kind === "address"
      ? `${destination.network}/${destination.address}`
      : `${destination.namespace}/${destination.hostname}`;
  return { destination: where, hboneMtlsPort: port };
}

function portMap(
  ports: readonly { readonly servicePort: number; readonly targetPort: number }[],
): Record<string, number> {
  return Object.fromEntries(ports.map(({ servicePort, targetPort }) => [String(servicePort), targetPort]));
}

function prefixText({ prefix, length }: Prefix): string {
  return `${formatIp(prefix) ?? ""}/${length}`;
}

function withoutHeaders<T extends object>(settings: T): Omit<T, "headers"> {
  return { ...settings, headers: undefined };
}

const version = "0.1.0";
