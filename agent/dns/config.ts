/** Settings of the DNS proxy, from the variables that the field's agents read (agent-wire 8, 10.1) and one of ours. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { isLoopback, parseEndpoint, type Endpoint } from "../../core/base/ip.ts";
import type { Log } from "../../core/base/log.ts";
import type { DnsListenSettings } from "../listeners/pod-listeners.ts";
import type { SettingProblem } from "../run-mode.ts";
import type { DnsWorkerSettings } from "./host.ts";
import { parseNameServers, parseResolvConf } from "./name-servers.ts";

export interface DnsConfig {
  readonly clusterDomain: string;
  readonly preferredNamespace: string | undefined;
  /** Where queries of every pod are answered, in its own namespace. */
  readonly addresses: readonly string[];
  readonly port: number;
  /** For queries of which the kernel does not say whom they were for; undefined: the agent's own resolvers. */
  readonly nameServers: readonly Endpoint[] | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Undefined: this agent answers no queries. The node daemon must then capture none.
 * @param metadata ISTIO_META_*, without the prefix.
 */
export function parseDnsConfig(env: Environment, metadata: Environment): DnsConfig | undefined | SettingProblem {
  const capture = metadata["DNS_CAPTURE"];
  if (capture !== undefined && capture !== "true") return undefined;
  const address = env["DNS_PROXY_ADDR"] ?? "";
  const listen = address === "" ? standard : listenAddress(address);
  if (listen === undefined) {
    const fix = "is no loopback address with a port: write localhost:15053 or 127.0.0.1:15053, or leave it out";
    return { variable: "DNS_PROXY_ADDR", value: address, fix };
  }
  const servers = env["AMBIENTD_DNS_SERVERS"] ?? "";
  const nameServers = servers === "" ? undefined : parseNameServers(servers);
  if (servers !== "" && nameServers === undefined) {
    const fix = "names no resolvers: write addresses, with or without port, separated by commas, or leave it out";
    return { variable: "AMBIENTD_DNS_SERVERS", value: servers, fix };
  }
  return {
    clusterDomain: (env["CLUSTER_DOMAIN"] || "cluster.local").toLowerCase().replace(/\.$/, ""),
    preferredNamespace: env["PREFERED_SERVICE_NAMESPACE"] || undefined,
    ...listen,
    nameServers,
  };
}

/** Where pods' queries are answered. */
export function dnsListenSettings({ addresses, port }: DnsConfig, agent: AgentFacts): DnsListenSettings {
  return { addresses: addresses.filter((address) => agent.ipv6 || !address.includes(":")), port };
}

/** What every worker is started with. */
export function dnsWorkerSettings(config: DnsConfig, agent: AgentFacts, log: Log): DnsWorkerSettings {
  const { clusterDomain, preferredNamespace, port } = config;
  return {
    clusterDomain,
    ...(preferredNamespace !== undefined && { preferredNamespace }),
    ipv6: agent.ipv6,
    port,
    nameServers: fallbackServers(config, log),
    inFlight: Math.ceil(podInFlight / agent.workers),
    probeSecret: randomBytes(32).toString("hex"),
    deadlineMs,
  };
}

interface AgentFacts {
  readonly ipv6: boolean;
  readonly workers: number;
}

/** The configured resolvers, else those of the agent's own resolv.conf that a pod could reach. */
export function fallbackServers(config: DnsConfig, log: Log, read = readResolvConf): readonly Endpoint[] {
  if (config.nameServers !== undefined) return config.nameServers;
  const { usable, onLoopback } = parseResolvConf(read());
  if (usable.length === 0) {
    log.warn(
      { onLoopback },
      "no resolver of this agent's own can be reached from pods: where the kernel does not say whom a query was for, it fails; " +
        "name resolvers in AMBIENTD_DNS_SERVERS",
    );
  }
  return usable;
}

function readResolvConf(): string {
  try {
    return readFileSync("/etc/resolv.conf", "utf8");
  } catch {
    return "";
  }
}

/** Not on any other address: a resolver for whoever comes by would be one that strangers use. */
function listenAddress(text: string): Pick<DnsConfig, "addresses" | "port"> | undefined {
  const isLocalhost = text.startsWith("localhost:");
  const endpoint = parseEndpoint(isLocalhost ? text.replace("localhost", "127.0.0.1") : text);
  if (endpoint === undefined || !isLoopback(endpoint.address) || endpoint.port === 0) return undefined;
  return { addresses: isLocalhost ? standard.addresses : [endpoint.address], port: endpoint.port };
}

/** Queries of one pod that may wait for an answer. */
const podInFlight = 1_000;
/** What a resolver has: as long as most clients wait, too. */
const deadlineMs = 5_000;
const standard = { addresses: ["127.0.0.1", "::1"], port: 15_053 } as const;
