/** Small meshes for tests: workloads, services and policies with everything left out that a test does not talk about. */
import { parseIp } from "../../core/base/ip.ts";
import type { GatewayRef } from "../../core/protocol/wds/gateway.ts";
import type { Match, Policy, Rule } from "../../core/protocol/wds/authorization.ts";
import type { Prefix, PortMapping } from "../../core/protocol/wds/fields.ts";
import type { MeshService } from "../../core/protocol/wds/service.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

/** `namespace/name` of a pod with one address; its account is its name. */
export function pod(path: string, address: string, more: Partial<MeshWorkload> = {}): MeshWorkload {
  const [namespace = "", name = ""] = path.split("/");
  return {
    uid: `Kubernetes//Pod/${path}`,
    name,
    namespace,
    addresses: address === "" ? [] : [address],
    network: "",
    tunnel: "hbone",
    trustDomain: "cluster.local",
    serviceAccount: name,
    node: "node1",
    canonicalName: name,
    canonicalRevision: "latest",
    workloadType: "pod",
    workloadName: name,
    nativeTunnel: false,
    policies: [],
    healthy: true,
    clusterId: "Kubernetes",
    hostname: "",
    services: new Map(),
    locality: { region: "", zone: "", subzone: "" },
    hostNetwork: false,
    capacity: 1,
    ...more,
  };
}

/** `namespace/name` of a service with one virtual address; its hostname is the cluster's usual. */
export function service(path: string, vip: string, ports: PortMapping[], more: Partial<MeshService> = {}): MeshService {
  const [namespace = "", name = ""] = path.split("/");
  const hostname = `${name}.${namespace}.svc.cluster.local`;
  return {
    key: `${namespace}/${hostname}`,
    name,
    namespace,
    hostname,
    vips: vip === "" ? [] : [{ network: "", address: vip }],
    cidrVips: [],
    ports,
    subjectAltNames: [],
    weightedWaypoints: [],
    ipFamilies: "automatic",
    canonical: true,
    visibility: "public",
    ...more,
  };
}

export function port(servicePort: number, targetPort: number): PortMapping {
  return { servicePort, targetPort };
}

/** The `services` field of a workload behind these services. */
export function backs(...pairs: [MeshService, ...PortMapping[]][]): ReadonlyMap<string, readonly PortMapping[]> {
  return new Map(pairs.map(([{ key }, ...ports]) => [key, ports]));
}

/** A reference to a gateway by service. */
export function gatewayAt(target: MeshService, hbonePort = 15_008): GatewayRef {
  const { namespace, hostname } = target;
  return { destination: { kind: "hostname", namespace, hostname }, port: hbonePort };
}

export function policy(key: string, more: Partial<Policy>): Policy {
  const [namespace = ""] = key.split("/");
  return { key, namespace, scope: "namespace", action: "allow", dryRun: false, rules: [], ...more };
}

/** A rule of one clause with one match each. */
export function ruleOf(...matches: Partial<Match>[]): Rule {
  return { clauses: matches.map((one) => ({ matches: [match(one)] })) };
}

export function match(more: Partial<Match>): Match {
  return {
    namespaces: [],
    notNamespaces: [],
    principals: [],
    notPrincipals: [],
    sourceIps: [],
    notSourceIps: [],
    destinationIps: [],
    notDestinationIps: [],
    destinationPorts: [],
    notDestinationPorts: [],
    serviceAccounts: [],
    notServiceAccounts: [],
    ...more,
  };
}

/** `10.0.0.0/8` as a prefix. */
export function cidr(text: string): Prefix {
  const [address = "", length = ""] = text.split("/");
  const prefix = parseIp(address);
  if (prefix === undefined) throw new Error(`${text} is no prefix`);
  return { prefix, length: Number(length) };
}
