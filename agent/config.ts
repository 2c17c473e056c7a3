/** The agent's settings, from the environment variables that the field's agents read (agent-wire 10.1). A bad value names itself and its fix. */
import { TypedError } from "../core/base/errors.ts";
import type { KeepAlive } from "../core/linux/sockets.ts";
import { parseDnsConfig, type DnsConfig } from "./dns/config.ts";
import { parseProxyConfig, type ProxyConfig } from "./proxy-config.ts";
import type { TerminationDeadlines } from "./departure.ts";
import {
  parseFakeCa,
  parseLocalMesh,
  parseMode,
  unsupported,
  type LocalMeshSource,
  type RunMode,
  type SettingProblem,
} from "./run-mode.ts";
import { workerCount } from "./worker-count.ts";
import type { SniffMode } from "./sniff/conversation.ts";
import type { EngineName } from "./tunnel/engine.ts";
import { parseTlsPolicy, tlsPolicy, type TlsPolicy } from "./tunnel/tls-policy.ts";
import { tunnelLimits, type TunnelLimits } from "./tunnel/tunnel.ts";

export interface AgentConfig {
  readonly nodeName: string;
  readonly clusterId: string;
  readonly network: string;
  readonly podName: string;
  readonly podNamespace: string;
  /** Of the agent's own pod. */
  readonly serviceAccount: string;
  readonly instanceIp: string;
  readonly xds: ControlSettings;
  readonly ca: ControlSettings;
  /** A file, or the token itself. */
  readonly authToken: string;
  readonly zdsSocket: string;
  readonly workers: number;
  readonly mode: RunMode;
  /** A mesh that is written down, beside control's or instead of it. */
  readonly localMesh: LocalMeshSource | undefined;
  /** For tests: the folder of a root of which certificates are issued in this process. */
  readonly fakeCa: string | undefined;
  /** undefined: packets are not marked. */
  readonly packetMark: number | undefined;
  /** IP_TRANSPARENT: undefined means where it can be had, true means or else fail. */
  readonly originalSource: boolean | undefined;
  /** SO_REUSEPORT on pods' ports. */
  readonly sharePorts: boolean;
  readonly ipv6: boolean;
  readonly keepAlive: KeepAlive | undefined;
  readonly secretTtlSeconds: number;
  readonly poolIdleReleaseMs: number;
  /** Connections that one pod may hold; undefined: a quarter of what the process can have of descriptors. */
  readonly podConnections: number | undefined;
  /** How long open connections have after SIGTERM. */
  readonly termination: TerminationDeadlines;
  readonly responseBaggage: boolean;
  /** Who speaks HTTP/2 in tunnels. */
  readonly engine: EngineName;
  readonly limits: TunnelLimits;
  readonly tls: TlsPolicy;
  /** Where lists of revoked certificates are; undefined: nobody says what is revoked. */
  readonly crlPath: string | undefined;
  /** undefined: this agent answers no queries. */
  readonly dns: DnsConfig | undefined;
  /** Whether an application behind a PROXY tunnel is connected to on loopback, else at its pod's address. */
  readonly localhostApplicationTunnel: boolean;
  /** Whether a workload whose record names a waypoint, and a service that asks for it, is reached through that waypoint only. */
  readonly requireWaypoint: boolean;
  /** Whether verdicts of policies are logged at info; else at debug. */
  readonly policyInfoLogging: boolean;
  /** Requests in connections to pods are counted in passing; undefined: nobody looks. */
  readonly sniff: SniffMode | undefined;
  /** Where the node daemon keeps listening sockets for the agent that comes after this one; undefined where it does not. */
  readonly listenerStore: string | undefined;
  /** Where metrics are asked for. */
  readonly statsPort: number;
  /** Where the admin server is asked, on loopback. */
  readonly adminPort: number;
  /** A unix socket for the admin server, besides 127.0.0.1:15000. */
  readonly adminSocket: string | undefined;
  /** ISTIO_META_* without the prefix. */
  readonly metadata: Readonly<Record<string, string>>;
  /** ISTIO_METAJSON_* without the prefix: any JSON. */
  readonly jsonMetadata: Readonly<Record<string, unknown>>;
}

export interface ControlSettings {
  readonly address: string;
  readonly rootCa: string;
  readonly serverNames: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
}

export class ConfigError extends TypedError<{
  readonly code: "agent.bad-setting";
  readonly variable: string;
  readonly value: string;
  readonly fix: string;
}> {
  sentence(): string {
    const { variable, value, fix } = this.type;
    return `ambientd agent: ${variable}=${value === "" ? '""' : value} ${fix}`;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * @param cores how many processors the machine has.
 * @param meshFile content of the mesh's file, `./etc/istio/config/mesh`, where there is one.
 */
export function parseConfig(env: Environment, cores: number, meshFile?: string): AgentConfig | ConfigError {
  const problems: ConfigError[] = [];
  const read = new Reader(env, problems);
  const proxy = read.proxyConfig(meshFile);
  const mode = read.take(parseMode(env)) ?? { kind: "shared" };
  const config: AgentConfig = {
    nodeName: read.text("NODE_NAME", ""),
    clusterId: env["ISTIO_META_CLUSTER_ID"] ?? read.text("CLUSTER_ID", "Kubernetes"),
    network: read.text("NETWORK", ""),
    podName: read.text("POD_NAME", ""),
    podNamespace: read.text("POD_NAMESPACE", ""),
    serviceAccount: read.text("SERVICE_ACCOUNT", ""),
    instanceIp: read.text("INSTANCE_IP", "1.1.1.1"),
    xds: control(read, env, "XDS", proxy.discoveryAddress),
    ca: control(read, env, "CA", undefined),
    authToken: read.text("AUTH_TOKEN", "./var/run/secrets/tokens/istio-token"),
    zdsSocket: read.text("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock"),
    mode,
    localMesh: read.take(parseLocalMesh(env)),
    fakeCa: read.take(parseFakeCa(env)),
    workers: read.workers(cores, proxy.concurrency),
    packetMark: read.optionalNumber("PACKET_MARK", 1, 0xffff_ffff) ?? (mode.kind === "shared" ? 1337 : undefined),
    originalSource: read.optionalFlag("ENABLE_ORIG_SRC"),
    sharePorts: read.flag("INPOD_PORT_REUSE", false),
    ipv6: read.flag("IPV6_ENABLED", true),
    keepAlive: keepAlive(read),
    secretTtlSeconds: read.durationMs("SECRET_TTL", 86_400_000) / 1_000,
    poolIdleReleaseMs: read.durationMs("POOL_UNUSED_RELEASE_TIMEOUT", 300_000),
    podConnections: read.optionalNumber("AMBIENTD_POD_CONNECTIONS", 1, 100_000_000),
    termination: termination(read),
    responseBaggage: read.flag("ENABLE_RESPONSE_BAGGAGE", true),
    engine: read.engine(),
    limits: tunnelSizes(read),
    tls: read.take(parseTlsPolicy(env)) ?? tlsPolicy,
    crlPath: read.path("CRL_PATH"),
    dns: dns(env, { ...unprefixed(proxy.metadata), ...prefixed(env, "ISTIO_META_") }, problems),
    localhostApplicationTunnel: read.flag("LOCALHOST_APP_TUNNEL", true),
    requireWaypoint: read.flag("AMBIENTD_REQUIRE_WAYPOINT", true),
    policyInfoLogging: read.flag("AUTHZ_POLICY_INFO_LOGGING", false),
    sniff: read.sniff(),
    listenerStore: read.path("AMBIENTD_LISTENER_STORE"),
    statsPort: proxy.statsPort,
    adminPort: proxy.adminPort,
    adminSocket: read.path("AMBIENTD_ADMIN_SOCKET"),
    metadata: { ...unprefixed(proxy.metadata), ...prefixed(env, "ISTIO_META_") },
    jsonMetadata: read.json("ISTIO_METAJSON_"),
  };
  read.take(unsupported(env));
  if (config.ca.address === "" && config.fakeCa === undefined) {
    problems.push(bad("CA_ADDRESS", "", "leaves workloads without certificates: write where the authority is"));
  }
  if (config.xds.address === "" && config.localMesh === undefined) {
    problems.push(bad("XDS_ADDRESS", "", "leaves the agent without a mesh: write where control is, or LOCAL_XDS_PATH"));
  }
  return problems[0] ?? config;
}

function dns(env: Environment, metadata: Environment, problems: ConfigError[]): DnsConfig | undefined {
  const config = parseDnsConfig(env, metadata);
  if (config === undefined || !("fix" in config)) return config;
  problems.push(bad(config.variable, config.value, config.fix));
  return undefined;
}

/** Octets (agent-wire 2.3), and streams in one tunnel. */
function tunnelSizes(read: Reader): TunnelLimits {
  const { streamWindow, connectionWindow, maxFrameSize, clientStreams } = tunnelLimits;
  return {
    streamWindow: read.number("HTTP2_STREAM_WINDOW_SIZE", streamWindow, 65_535, 0x7fff_ffff),
    connectionWindow: read.number("HTTP2_CONNECTION_WINDOW_SIZE", connectionWindow, 65_535, 0x7fff_ffff),
    maxFrameSize: read.number("HTTP2_FRAME_SIZE", maxFrameSize, 16_384, 16_777_215),
    clientStreams: read.number("POOL_MAX_STREAMS_PER_CONNECTION", clientStreams, 1, 1_000_000),
  };
}

class Reader {
  readonly #env: Environment;
  readonly #problems: ConfigError[];

  constructor(env: Environment, problems: ConfigError[]) {
    this.#env = env;
    this.#problems = problems;
  }

  engine(): EngineName {
    const [http2, tls] = ["AMBIENTD_HTTP2_ENGINE", "AMBIENTD_TLS_ENGINE"];
    const value = this.text(http2, "own");
    if (value === "node") return value;
    if (value !== "own")
      this.#problems.push(bad(http2, value, 'is no HTTP/2 engine: write "own", or "node" for the reference'));
    const machine = this.text(tls, "own");
    if (machine === "node") return "own-on-node-tls";
    if (machine !== "own")
      this.#problems.push(bad(tls, machine, 'is no TLS engine: write "own", or "node" for Node\'s TLSSocket'));
    return "own";
  }

  sniff(): SniffMode | undefined {
    const variable = "AMBIENTD_SNIFF";
    const value = this.text(variable, "");
    if (value === "http") return value;
    if (value !== "")
      this.#problems.push(bad(variable, value, 'is nothing to look for: write "http", or leave it out'));
    return undefined;
  }

  text(variable: string, otherwise: string): string {
    return this.#env[variable] ?? otherwise;
  }

  path(variable: string): string | undefined {
    return this.#env[variable] === "" ? undefined : this.#env[variable];
  }

  flag(variable: string, otherwise: boolean): boolean {
    return this.optionalFlag(variable) ?? otherwise;
  }

  optionalFlag(variable: string): boolean | undefined {
    const value = this.#env[variable];
    if (value === undefined || value === "") return undefined;
    if (value === "true" || value === "1") return true;
    if (value === "false" || value === "0") return false;
    this.#problems.push(bad(variable, value, "is neither true nor false: write one of them"));
    return undefined;
  }

  number(variable: string, otherwise: number, least: number, most: number): number {
    return this.optionalNumber(variable, least, most) ?? otherwise;
  }

  optionalNumber(variable: string, least: number, most: number): number | undefined {
    const text = this.#env[variable];
    if (text === undefined || text === "") return undefined;
    const value = Number(text);
    if (/^(?:0x[0-9a-f]+|\d+)$/i.test(text) && value >= least && value <= most) return value;
    this.#problems.push(bad(variable, text, `is no whole number from ${least} to ${most}: write one, or leave it out`));
    return undefined;
  }

  durationMs(variable: string, otherwise: number): number {
    const text = this.#env[variable];
    if (text === undefined || text === "") return otherwise;
    const value = parseDuration(text);
    if (value !== undefined) return value;
    this.#problems.push(bad(variable, text, "is no duration: write it like 24h, 5m, 1h30m, 10s or 500ms"));
    return otherwise;
  }

  proxyConfig(mesh: string | undefined): ProxyConfig {
    const text = this.#env["PROXY_CONFIG"];
    const config = parseProxyConfig(text, mesh);
    if (typeof config !== "string") return config;
    this.#problems.push(bad("PROXY_CONFIG", (text ?? "").slice(0, 100), config));
    return { statsPort: 0, adminPort: 0, metadata: {} };
  }

  /** Each as the JSON that it must be. */
  json(prefix: string): Record<string, unknown> {
    return Object.fromEntries(
      Object.entries(prefixed(this.#env, prefix)).map(([name, text]) => {
        try {
          return [name, JSON.parse(text) as unknown];
        } catch {
          this.#problems.push(bad(`${prefix}${name}`, text.slice(0, 100), 'is no JSON: write it like {"a": 1}'));
          return [name, undefined];
        }
      }),
    );
  }

  workers(cores: number, concurrency: number | undefined): number {
    const threads = this.#env["ZTUNNEL_WORKER_THREADS"];
    const [cpuLimit, cpuRequest] = [
      this.cpus("ZTUNNEL_CPU_LIMIT") ?? this.cpus("ZTUNNEL_RESOURCE_CPU_LIMIT"),
      this.cpus("ZTUNNEL_RESOURCE_CPU_REQUEST"),
    ];
    const count = workerCount({ threads, concurrency, cpuLimit, cpuRequest, cores });
    if (count !== undefined) return count;
    const fix = "is no number of workers: write a number, 0 for one per core, or a share like 25%";
    this.#problems.push(bad("ZTUNNEL_WORKER_THREADS", threads ?? "", fix));
    return 2;
  }

  /** Cores, as Kubernetes writes them. */
  cpus(variable: string): number | undefined {
    const text = this.#env[variable];
    if (text === undefined || text === "") return undefined;
    const [, amount = "", milli] = /^(\d+(?:\.\d+)?)(m?)$/.exec(text) ?? [];
    const value = Number(amount) / (milli === "m" ? 1_000 : 1);
    if (amount !== "" && value > 0) return value;
    this.#problems.push(bad(variable, text, "is no number of cores: write it like 2, 0.5 or 500m"));
    return undefined;
  }

  /** What is a problem is noted and left out. */
  take<T extends object | string>(parsed: T | SettingProblem | undefined): T | undefined {
    if (typeof parsed !== "object" || !("fix" in parsed)) return parsed;
    this.#problems.push(bad(parsed.variable, parsed.value, parsed.fix));
    return undefined;
  }
}

/** Milliseconds of `1h30m`, `500ms`; undefined for what is none, and for nothing at all. */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:h|ms|m|s))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)) {
    total += Number(amount) * (unitMs[unit ?? ""] ?? 0);
  }
  return total > 0 && Number.isSafeInteger(Math.round(total)) ? Math.round(total) : undefined;
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

function control(
  read: Reader,
  env: Environment,
  of: "XDS" | "CA",
  otherwise = "https://istiod.istio-system.svc:15012",
): ControlSettings {
  const hostname = env[`ALT_${of}_HOSTNAME`];
  return {
    address: read.text(`${of}_ADDRESS`, otherwise),
    rootCa: read.text(`${of}_ROOT_CA`, "./var/run/secrets/istio/root-cert.pem"),
    serverNames: hostname === undefined || hostname === "" ? [] : [hostname],
    headers: prefixed(env, `${of}_HEADER_`),
  };
}

function keepAlive(read: Reader): KeepAlive | undefined {
  const settings: KeepAlive = {
    idleSeconds: Math.round(read.durationMs("KEEPALIVE_TIME", 180_000) / 1_000),
    intervalSeconds: Math.round(read.durationMs("KEEPALIVE_INTERVAL", 180_000) / 1_000),
    probes: read.number("KEEPALIVE_RETRIES", 9, 1, 127),
  };
  if (!read.flag("KEEPALIVE_ENABLED", true)) return undefined;
  const { idleSeconds, intervalSeconds, probes } = settings;
  // Bytes that nobody acknowledges wait as long as a peer that says nothing.
  const userTimeoutMs = (idleSeconds + probes * intervalSeconds) * 1_000;
  return read.flag("USER_TIMEOUT_ENABLED", false) ? { ...settings, userTimeoutMs } : settings;
}

/**
 * CONNECTION_TERMINATION_DEADLINE, else a little less than the pod's grace period, else 5 s (agent-wire 2.8). Connections that are
 * open have all of a long grace period, and where another agent serves meanwhile, without any of the two, no deadline at all. What an
 * agent without a successor accepted for want of a better one has little once it accepts no more: others wait for the next agent then.
 */
function termination(read: Reader): TerminationDeadlines {
  const deadlineMs = read.durationMs("CONNECTION_TERMINATION_DEADLINE", 0);
  const grace = read.number("TERMINATION_GRACE_PERIOD_SECONDS", 0, 0, 2_592_000);
  if (deadlineMs > 0) return { relievedMs: deadlineMs, aloneMs: deadlineMs, lateMs: longestLateMs };
  if (grace === 0) return { relievedMs: undefined, aloneMs: 5_000, lateMs: longestLateMs };
  const graceMs = Math.max(1, grace > 10 ? grace - 5 : grace - 1) * 1_000;
  return { relievedMs: graceMs, aloneMs: graceMs, lateMs: longestLateMs };
}

const longestLateMs = 10_000;

/** Only what was meant for control. */
function unprefixed(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name.replace(/^ISTIO_META_/, ""), value]));
}

function prefixed(env: Environment, prefix: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith(prefix) && value !== undefined) found[name.slice(prefix.length)] = value;
  }
  return found;
}

function bad(variable: string, value: string, fix: string): ConfigError {
  return new ConfigError({ code: "agent.bad-setting", variable, value, fix });
}
