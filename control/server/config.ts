/** The flags of `ambientd control`: objects and root from folders, or both from a cluster's API server. */
import { hostname } from "node:os";
import { FlagError } from "../../core/base/flag-error.ts";
import { isLoopback, type Endpoint } from "../../core/base/ip.ts";
import {
  badFlag,
  flagUsage,
  parseListen,
  parseNames,
  parseSeconds,
  readFlags,
  type FlagRules,
  type Given,
} from "./flags.ts";
import type { DanglingWaypoints } from "./model/inputs.ts";

/** What a control plane is told wherever its objects come from. */
export interface CommonConfig {
  readonly listen: Endpoint;
  /** Seconds no workload certificate outlives; absent: what is asked for, 24 hours by default. */
  readonly certTtlSeconds?: number;
  readonly clusterId: string;
  readonly trustDomain: string;
  /** What becomes of connections to what asks for a waypoint that it cannot have; absent: they go without. */
  readonly danglingWaypoints?: DanglingWaypoints;
  /** Names and addresses control is reached by. */
  readonly advertise: readonly string[];
}

export interface FolderConfig extends CommonConfig {
  readonly source: "folder";
  /** Folder of Kubernetes manifests. */
  readonly manifests: string;
  /** Folder of status overlays. */
  readonly status: string;
  /** Private: root key and certificate, token key. */
  readonly data: string;
  /** File the root certificate is published in. */
  readonly publishRoot: string;
  /** Folder of `<node>/istio-token`. */
  readonly tokens: string;
}

export interface KubernetesConfig extends CommonConfig {
  readonly source: "kubernetes";
  /** Absent: the pod's own service account. */
  readonly kubeconfig?: string;
  readonly context?: string;
  /** Where control runs: its Lease and the root's Secret are here. */
  readonly namespace: string;
  /** Where policies for the whole mesh live. */
  readonly rootNamespace: string;
  /** Who this replica is, in the Lease. */
  readonly podName: string;
  /** `namespace/service account` of those that act for the node they run on. */
  readonly trustedAgents: readonly string[];
  /** Where `/healthz` and `/readyz` are answered; absent: nowhere. */
  readonly health?: Endpoint;
  /** Where `/debug/…` is answered: loopback, or the path of a unix socket; absent: nowhere. */
  readonly debug?: Endpoint | string;
}

export type ControlConfig = FolderConfig | KubernetesConfig;

export function parseFlags(argv: readonly string[]): ControlConfig | FlagError {
  const source = sourceOf(argv);
  if (source instanceof FlagError) return source;
  const given = readFlags(argv, { ...(source === "kubernetes" ? kubernetesFlags : folderFlags), ...commonFlags });
  if (given instanceof FlagError) return given;
  const common = parseCommon(given);
  if (common instanceof FlagError) return common;
  return source === "kubernetes" ? parseKubernetes(given, common) : parseFolder(given, common);
}

export const usage = (): string =>
  [folderFlags, kubernetesFlags]
    .map((own) => Object.entries({ ...own, ...commonFlags }).map(flagUsage))
    .map((flags, index) => `${index === 0 ? "usage:" : "   or:"} ambientd control ${flags.join(" ")}\n`)
    .join("");

function parseFolder(given: Given, common: CommonConfig): FolderConfig {
  return {
    source: "folder",
    manifests: one(given, "manifests") ?? "",
    status: one(given, "status") ?? "",
    data: one(given, "data") ?? "",
    publishRoot: one(given, "publish-root") ?? "",
    tokens: one(given, "tokens") ?? "",
    ...common,
  };
}

function parseKubernetes(given: Given, common: CommonConfig): KubernetesConfig | FlagError {
  const namespace = one(given, "namespace") ?? "";
  const rootNamespace = one(given, "root-namespace") ?? namespace;
  for (const [flag, name] of [
    ["--namespace", namespace],
    ["--root-namespace", rootNamespace],
  ] as const) {
    if (!labelShape.test(name)) return badFlag(flag, `is "${name}"`, "give the name of a namespace");
  }
  const trustedAgents = given.get("trusted-agent") ?? [`${namespace}/ambientd-agent`];
  const strange = trustedAgents.find((account) => !accountShape.test(account));
  if (strange !== undefined) {
    return badFlag("--trusted-agent", `is "${strange}"`, "give namespace/serviceaccount, once for each");
  }
  const healthText = one(given, "health");
  const health = healthText === undefined ? undefined : parseListen("--health", healthText);
  if (health instanceof FlagError) return health;
  const debug = parseDebug(one(given, "debug"));
  if (debug instanceof FlagError) return debug;
  const kubeconfig = one(given, "kubeconfig");
  const context = one(given, "context");
  return {
    source: "kubernetes",
    namespace,
    rootNamespace,
    podName: one(given, "pod-name") ?? hostname(),
    trustedAgents,
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
    ...(context === undefined ? {} : { context }),
    ...(health === undefined ? {} : { health }),
    ...(debug === undefined ? {} : { debug }),
    ...common,
  };
}

function parseCommon(given: Given): CommonConfig | FlagError {
  const listen = parseListen("--listen", one(given, "listen") ?? "");
  if (listen instanceof FlagError) return listen;
  const certTtl = one(given, "cert-ttl");
  const certTtlSeconds = certTtl === undefined ? undefined : parseSeconds("--cert-ttl", certTtl, mostTtlSeconds);
  if (certTtlSeconds instanceof FlagError) return certTtlSeconds;
  const trustDomain = one(given, "trust-domain") ?? "cluster.local";
  if (!trustDomainShape.test(trustDomain)) {
    const fix = "use lower-case letters, digits, dots, dashes and underscores";
    return badFlag("--trust-domain", `is "${trustDomain}"`, fix);
  }
  const danglingWaypoints = one(given, "dangling-waypoints");
  if (danglingWaypoints !== undefined && danglingWaypoints !== "l4" && danglingWaypoints !== "refuse") {
    return badFlag("--dangling-waypoints", `is "${danglingWaypoints}"`, "give l4 or refuse");
  }
  const advertise = parseNames("--advertise", one(given, "advertise") ?? "");
  if (advertise instanceof FlagError) return advertise;
  return {
    listen,
    ...(certTtlSeconds === undefined ? {} : { certTtlSeconds }),
    clusterId: one(given, "cluster-id") ?? "Kubernetes",
    trustDomain,
    ...(danglingWaypoints === undefined ? {} : { danglingWaypoints }),
    advertise,
  };
}

/** What it shows is nobody's business but the machine's, or the pod's. */
function parseDebug(text: string | undefined): Endpoint | string | undefined | FlagError {
  if (text === undefined || text.startsWith("/")) return text;
  const endpoint = parseListen("--debug", text);
  if (endpoint instanceof FlagError || isLoopback(endpoint.address)) return endpoint;
  return badFlag("--debug", `is "${text}"`, "give a loopback address, like 127.0.0.1:15014, or the path of a socket");
}

/** Before the flags can be read it must be known which ones there are. */
function sourceOf(argv: readonly string[]): "folder" | "kubernetes" | FlagError {
  const at = argv.findIndex((word) => word === "--source" || word.startsWith("--source="));
  if (at < 0) return "folder";
  const word = argv[at] ?? "";
  const value = word === "--source" ? (argv[at + 1] ?? "") : word.slice("--source=".length);
  if (value === "folder" || value === "kubernetes") return value;
  return badFlag("--source", `is "${value}"`, "give folder or kubernetes");
}

function one(given: Given, flag: string): string | undefined {
  return given.get(flag)?.[0];
}

const folderFlags: FlagRules = {
  source: { value: "folder" },
  manifests: { value: "DIR", required: true },
  status: { value: "DIR", required: true },
  data: { value: "DIR", required: true },
  "publish-root": { value: "FILE", required: true },
  tokens: { value: "DIR", required: true },
};

const kubernetesFlags: FlagRules = {
  source: { value: "kubernetes", required: true },
  kubeconfig: { value: "FILE" },
  context: { value: "NAME" },
  namespace: { value: "NAMESPACE", required: true },
  "root-namespace": { value: "NAMESPACE" },
  "pod-name": { value: "NAME" },
  "trusted-agent": { value: "NAMESPACE/SERVICEACCOUNT", repeatable: true },
  health: { value: "ADDRESS:PORT" },
  debug: { value: "LOOPBACK:PORT|PATH" },
};

const commonFlags: FlagRules = {
  listen: { value: "ADDRESS:PORT", required: true },
  "cert-ttl": { value: "SECONDS" },
  "cluster-id": { value: "NAME" },
  "trust-domain": { value: "NAME" },
  "dangling-waypoints": { value: "l4|refuse" },
  advertise: { value: "HOST_OR_IP,…" },
};

const trustDomainShape = /^[a-z0-9._-]{1,255}$/;
/** RFC 1123. */
const labelShape = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const accountShape = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/;
/** 90 days, as istiod has it (MAX_WORKLOAD_CERT_TTL). */
export const mostTtlSeconds = 90 * 86_400;
