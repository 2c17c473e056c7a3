/** The agent's settings, from the environment variables that the field's agents read (agent-wire 10.1). A bad value names itself and its fix. */
import { TypedError } from "../core/base/errors.ts";
import type { KeepAlive } from "../core/linux/sockets.ts";
import { parseDnsConfig, type DnsConfig } from "./dns/config.ts";
import { parseProxyConfig } from "./proxy-config.ts";
import type { TerminationDeadlines } from "./departure.ts";
import type { EngineName } from "./tunnel/engine.ts";
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
  readonly packetMark: number;
  /** IP_TRANSPARENT: undefined means where it can be had, true means or else fail. */
  readonly originalSource: boolean | undefined;
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
  /** undefined: this agent answers no queries. */
  readonly dns: DnsConfig | undefined;
  /** Whether an application behind a PROXY tunnel is connected to on loopback, else at its pod's address. */
  readonly localhostApplicationTunnel: boolean;
  /** Whether a workload whose record names a waypoint, and a service that asks for it, is reached through that waypoint only. */
  readonly requireWaypoint: boolean;
  /** Whether verdicts of policies are logged at info; else at debug. */
  readonly policyInfoLogging: boolean;
  /** Where the node daemon keeps listening sockets for the agent that comes after this one; undefined where it does not. */
  readonly listenerStore: string | undefined;
  /** Where metrics are asked for. */
  readonly statsPort: number;
  /** A unix socket for the admin server, besides 127.0.0.1:15000. */
  readonly adminSocket: string | undefined;
  /** ISTIO_META_* without the prefix. */
  readonly metadata: Readonly<Record<string, string>>;
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

/** @param cores how many processors the machine has. */
export function parseConfig(env: Environment, cores: number): AgentConfig | ConfigError {
  const problems: ConfigError[] = [];
  const read = new Reader(env, problems);
  const config: AgentConfig = {
    nodeName: read.text("NODE_NAME", ""),
    clusterId: env["ISTIO_META_CLUSTER_ID"] ?? read.text("CLUSTER_ID", "Kubernetes"),
    network: read.text("NETWORK", ""),
    podName: read.text("POD_NAME", ""),
    podNamespace: read.text("POD_NAMESPACE", ""),
    serviceAccount: read.text("SERVICE_ACCOUNT", ""),
    instanceIp: read.text("INSTANCE_IP", "1.1.1.1"),
    xds: control(read, env, "XDS"),
    ca: control(read, env, "CA"),
    authToken: read.text("AUTH_TOKEN", "./var/run/secrets/tokens/istio-token"),
    zdsSocket: read.text("INPOD_UDS", "/var/run/ztunnel/ztunnel.sock"),
    workers: read.workers(cores),
    packetMark: read.number("PACKET_MARK", 1337, 1, 0xffff_ffff),
    originalSource: read.optionalFlag("ENABLE_ORIG_SRC"),
    ipv6: read.flag("IPV6_ENABLED", true),
    keepAlive: keepAlive(read),
    secretTtlSeconds: read.durationMs("SECRET_TTL", 86_400_000) / 1_000,
    poolIdleReleaseMs: read.durationMs("POOL_UNUSED_RELEASE_TIMEOUT", 300_000),
    podConnections: read.optionalNumber("AMBIENTD_POD_CONNECTIONS", 1, 100_000_000),
    termination: termination(read),
    responseBaggage: read.flag("ENABLE_RESPONSE_BAGGAGE", true),
    engine: read.engine(),
    limits: tunnelSizes(read),
    dns: dns(env, problems),
    localhostApplicationTunnel: read.flag("LOCALHOST_APP_TUNNEL", true),
    requireWaypoint: read.flag("AMBIENTD_REQUIRE_WAYPOINT", true),
    policyInfoLogging: read.flag("AUTHZ_POLICY_INFO_LOGGING", false),
    listenerStore: read.path("AMBIENTD_LISTENER_STORE"),
    statsPort: read.statsPort(),
    adminSocket: read.path("AMBIENTD_ADMIN_SOCKET"),
    metadata: prefixed(env, "ISTIO_META_"),
  };
  if (read.text("PROXY_MODE", "shared") !== "shared") {
    problems.push(
      bad("PROXY_MODE", env["PROXY_MODE"] ?? "", "is not supported: leave it out, one agent serves the node"),
    );
  }
  return problems[0] ?? config;
}

function dns(env: Environment, problems: ConfigError[]): DnsConfig | undefined {
  const config = parseDnsConfig(env, prefixed(env, "ISTIO_META_"));
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
    const variable = "AMBIENTD_HTTP2_ENGINE";
    const value = this.text(variable, "own");
    if (value === "own" || value === "node") return value;
    this.#problems.push(bad(variable, value, 'is no HTTP/2 engine: write "own", or "node" for the reference'));
    return "own";
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

  statsPort(): number {
    const text = this.#env["PROXY_CONFIG"];
    const config = parseProxyConfig(text);
    if (typeof config !== "string") return config.statsPort;
    this.#problems.push(bad("PROXY_CONFIG", (text ?? "").slice(0, 100), config));
    return 0;
  }

  /** `N`, `0` for every core, or `P%` of them, rounded up (agent-wire 10.2). */
  workers(cores: number): number {
    const text = this.#env["ZTUNNEL_WORKER_THREADS"];
    if (text === undefined || text === "") return Math.max(2, Math.ceil(cores / 4));
    const [, number = "", percent] = /^(\d{1,4})(%?)$/.exec(text) ?? [];
    if (number === "" || (percent === "%" && number === "0")) {
      const fix = "is no number of workers: write a number, 0 for one per core, or a share like 25%";
      this.#problems.push(bad("ZTUNNEL_WORKER_THREADS", text, fix));
      return 2;
    }
    if (percent === "%") return Math.ceil((cores * Number(number)) / 100);
    return Number(number) === 0 ? cores : Number(number);
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

function control(read: Reader, env: Environment, of: "XDS" | "CA"): ControlSettings {
  const hostname = env[`ALT_${of}_HOSTNAME`];
  return {
    address: read.text(`${of}_ADDRESS`, "https://istiod.istio-system.svc:15012"),
    rootCa: read.text(`${of}_ROOT_CA`, "./var/run/secrets/istio/root-cert.pem"),
    serverNames: hostname === undefined || hostname === "" ? [] : [hostname],
    headers: prefixed(env, `${of}_HEADER_`),
  };
}

function keepAlive(read: Reader): KeepAlive | undefined {
  const settings = {
    idleSeconds: Math.round(read.durationMs("KEEPALIVE_TIME", 180_000) / 1_000),
    intervalSeconds: Math.round(read.durationMs("KEEPALIVE_INTERVAL", 180_000) / 1_000),
    probes: read.number("KEEPALIVE_RETRIES", 9, 1, 127),
  };
  return read.flag("KEEPALIVE_ENABLED", true) ? settings : undefined;
}

/**
 * CONNECTION_TERMINATION_DEADLINE, else a little less than the pod's grace period, else 5 s (agent-wire 2.8). Where another agent serves
 * meanwhile open connections have all of a long grace period, and without any of the two they have no deadline at all; where none
 * does, nobody shall wait for a successor for an hour.
 */
function termination(read: Reader): TerminationDeadlines {
  const deadlineMs = read.durationMs("CONNECTION_TERMINATION_DEADLINE", 0);
  const grace = read.number("TERMINATION_GRACE_PERIOD_SECONDS", 0, 0, 2_592_000);
  if (deadlineMs > 0) return { relievedMs: deadlineMs, aloneMs: deadlineMs };
  if (grace === 0) return { relievedMs: undefined, aloneMs: 5_000 };
  const graceMs = Math.max(1, grace > 10 ? grace - 5 : grace - 1) * 1_000;
  return { relievedMs: graceMs, aloneMs: Math.min(graceMs, longestAloneMs) };
}

const longestAloneMs = 25_000;

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
