/**
 * A mesh out of a file instead of a control plane (agent-wire 4.9): read as resources, so that everything behind them is what control's
 * go through. Loaded once, at the start.
 */
import { messageOf } from "../../core/base/errors.ts";
import { parseIp } from "../../core/base/ip.ts";
import {
  Address,
  ApplicationTunnel_Protocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  Service_Visibility,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
  type GatewayAddress,
  type LoadBalancing,
  type NetworkAddress,
  type Port,
  type PortList,
  type Service,
  type Workload,
} from "../../core/protocol/generated/workload.ts";
import { addressType } from "../../core/protocol/wds/address.ts";
import { authorizationType } from "../../core/protocol/wds/authorization.ts";
import type { DeltaResource, DeltaUpdate } from "../../core/protocol/xds/delta-client.ts";
import { done, Fields, LocalMeshError, mistake, text, wholeNumber } from "./fields.ts";
import { parseYaml } from "../yaml.ts";
import { localPolicy } from "./local-policy.ts";

/** Policies before the workloads that need them. @param yaml content of the file, or of the variable. */
export function localMesh(yaml: string): readonly DeltaUpdate[] | LocalMeshError {
  let parsed: unknown;
  try {
    parsed = parseYaml(yaml);
  } catch (thrown) {
    return new LocalMeshError({ code: "local-mesh.not-yaml", problem: messageOf(thrown).split("\n")[0] ?? "" });
  }
  try {
    return done(new Fields(parsed ?? {}, ""), (fields) => {
      const workloads = fields.list("workloads", (value, path) => done(new Fields(value, path), workload));
      const services = fields.list("services", (value, path) => done(new Fields(value, path), service));
      const policies = fields.list("policies", (value, path) => done(new Fields(value, path), localPolicy));
      return [update(authorizationType, policies), update(addressType, [...services, ...workloads])];
    });
  } catch (thrown) {
    if (thrown instanceof LocalMeshError) return thrown;
    throw thrown;
  }
}

function update(typeUrl: string, resources: readonly DeltaResource[]): DeltaUpdate {
  return { typeUrl, nonce: "local", resources, removed: [] };
}

function workload(fields: Fields): DeltaResource {
  const value: Workload = {
    uid: fields.text("uid"),
    name: fields.text("name"),
    namespace: fields.text("namespace"),
    serviceAccount: fields.text("serviceAccount", ""),
    trustDomain: fields.text("trustDomain", ""),
    addresses: fields.list("workloadIps", ip),
    hostname: fields.text("hostname", ""),
    tunnelProtocol: fields.choice("protocol", { TCP: TunnelProtocol.NONE, HBONE: TunnelProtocol.HBONE }, "TCP"),
    network: fields.text("network", ""),
    networkMode: fields.choice("networkMode", networkModes, "Standard"),
    node: fields.text("node", ""),
    clusterId: fields.text("clusterId", ""),
    workloadName: fields.text("workloadName", ""),
    workloadType: fields.choice("workloadType", known(WorkloadType), "DEPLOYMENT"),
    canonicalName: fields.text("canonicalName", ""),
    canonicalRevision: fields.text("canonicalRevision", ""),
    status: fields.choice("status", known(WorkloadStatus), "HEALTHY"),
    capacity: fields.number("capacity", 1),
    nativeTunnel: fields.flag("nativeTunnel"),
    locality: fields.optional("locality", locality),
    waypoint: fields.optional("waypoint", gateway),
    networkGateway: fields.optional("networkGateway", gateway),
    applicationTunnel: fields.optional("applicationTunnel", (tunnel) => ({
      protocol: tunnel.choice("protocol", known(ApplicationTunnel_Protocol), "NONE"),
      port: tunnel.number("port", 0, 65_535),
    })),
    authorizationPolicies: fields.list("authorizationPolicies", text),
    services: Object.fromEntries(fields.entries("services", (name, ports, path) => [name, portList(ports, path)])),
    extensions: [],
  };
  return { name: value.uid, version: "", bytes: Address.encode({ type: { $case: "workload", value } }).finish() };
}

function service(fields: Fields): DeltaResource {
  const value: Service = {
    name: fields.text("name"),
    namespace: fields.text("namespace"),
    hostname: fields.text("hostname"),
    addresses: [
      ...fields.list("vips", (vip, path) => networkAddress(text(vip, path), path)),
      ...fields.list("cidrVips", (vip, path) => done(new Fields(vip, path), cidr)),
    ],
    ports: fields.entries("ports", port),
    subjectAltNames: fields.list("subjectAltNames", text),
    waypoint: fields.optional("waypoint", gateway),
    loadBalancing: fields.optional("loadBalancer", loadBalancing),
    ipFamilies: fields.choice("ipFamilies", ipFamilies, "Automatic"),
    extensions: [],
    canonical: fields.flag("canonical"),
    ingressUseWaypoint: false,
    weightedWaypoints: fields.list("weightedWaypoints", (one, path) =>
      done(new Fields(one, path), (weighted) => ({
        destination: weighted.optional("destination", gateway),
        weight: weighted.number("weight", 0),
      })),
    ),
    visibility: fields.choice("visibility", known(Service_Visibility), "PUBLIC"),
  };
  const name = `${value.namespace}/${value.hostname}`;
  return { name, version: "", bytes: Address.encode({ type: { $case: "service", value } }).finish() };
}

function locality(fields: Fields): Workload["locality"] {
  return { region: fields.text("region", ""), zone: fields.text("zone", ""), subzone: fields.text("subzone", "") };
}

/** `network/address` or `namespace/hostname`. */
function gateway(fields: Fields): GatewayAddress {
  const destination = fields.text("destination");
  const path = `${fields.path}.destination`;
  const [first = "", ...rest] = destination.split("/");
  const second = rest.join("/");
  const isAddress = parseIp(second) !== undefined;
  if (second === "") throw mistake(path, "is neither network/address nor namespace/hostname");
  return {
    destination: isAddress
      ? { $case: "address", value: networkAddress(destination, path) }
      : { $case: "hostname", value: { namespace: first, hostname: second } },
    hboneMtlsPort: fields.number("hboneMtlsPort", 15_008, 65_535),
  };
}

function loadBalancing(fields: Fields): LoadBalancing {
  return {
    routingPreference: fields.list("routingPreferences", (one, path) =>
      new Fields({ one }, path).choice("one", known(LoadBalancing_Scope), ""),
    ),
    mode: fields.choice(
      "mode",
      { ...known(LoadBalancing_Mode), Standard: LoadBalancing_Mode.UNSPECIFIED_MODE },
      "Standard",
    ),
    healthPolicy: fields.choice("healthPolicy", known(LoadBalancing_HealthPolicy), "ONLY_HEALTHY"),
  };
}

function cidr(fields: Fields): NetworkAddress {
  const [address = "", length = ""] = fields.text("cidr").split("/");
  const path = `${fields.path}.cidr`;
  return { network: fields.text("network", ""), address: ip(address, path), length: wholeNumber(length, path, 128) };
}

function networkAddress(value: string, path: string): NetworkAddress {
  const at = value.lastIndexOf("/");
  return { network: value.slice(0, Math.max(0, at)), address: ip(value.slice(at + 1), path) };
}

function portList(value: unknown, path: string): PortList {
  return { ports: new Fields({ ports: value }, path).entries("ports", port) };
}

function port(name: string, value: unknown, path: string): Port {
  return {
    servicePort: wholeNumber(name, path, 65_535),
    targetPort: wholeNumber(value, path, 65_535),
    appProtocol: 0,
  };
}

function ip(value: unknown, path: string): Buffer {
  const bytes = parseIp(text(value, path));
  if (bytes === undefined) throw mistake(path, "is no IP address");
  return Buffer.from(bytes);
}

/** Without what stands for a number that nobody knows. */
function known<T extends Readonly<Record<string, number>>>(
  names: T,
): Readonly<Record<string, Exclude<T[keyof T], -1>>> {
  return Object.fromEntries(Object.entries(names).filter(([, number]) => number >= 0)) as Record<
    string,
    Exclude<T[keyof T], -1>
  >;
}

const networkModes = { Standard: NetworkMode.STANDARD, HostNetwork: NetworkMode.HOST_NETWORK };
const ipFamilies = {
  Automatic: IPFamilies.AUTOMATIC,
  IPv4: IPFamilies.IPV4_ONLY,
  IPv6: IPFamilies.IPV6_ONLY,
  Dual: IPFamilies.DUAL,
};
