/**
 * Where the API server is and who we are to it. Inside a pod: the mounted token and CA, read again as they rotate.
 * Outside: kubeconfig files as kubectl reads them, by @kubernetes/client-node, which is loaded only then (it costs tens
 * of megabytes).
 */
import { readFileSync } from "node:fs";
import type { Agent } from "node:http";
import type { KubeConfig } from "@kubernetes/client-node";
import { systemClock, type Clock } from "../../../core/base/clock.ts";
import { messageOf } from "../../../core/base/errors.ts";
import { KubeError } from "./errors.ts";

export interface ConnectionOptions {
  /** A path, or several with `:` between; wins over KUBECONFIG. */
  readonly kubeconfig?: string;
  readonly context?: string;
  /** Names in the kubeconfig that replace those of the context. */
  readonly cluster?: string;
  readonly user?: string;
  /** true: only the pod's own account; false: only kubeconfig files; absent: files if any are named, else the pod's, else ~/.kube/config. */
  readonly inCluster?: boolean;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Folder of `token`, `ca.crt` and `namespace`. */
  readonly accountFolder?: string;
  readonly clock?: Clock;
}

/** What a request needs beside its path. */
export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsMaterial;
  /** One that goes through a proxy; absent: straight. */
  readonly agent?: Agent;
}

/** As node:tls takes them. */
export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly passphrase?: string;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

export interface KubeConnection {
  /** May have a path, to which requests' paths are appended. */
  readonly server: URL;
  /** The namespace of the pod or context. */
  readonly namespace: string;
  /** For every request anew: tokens rotate. */
  credentials(): Promise<Credentials | KubeError>;
  /** Forgets what is remembered of credentials: after a 401. */
  refresh(): void;
  /** For what only @kubernetes/client-node does (exec, port-forward); absent inside a pod. */
  readonly kubeConfig?: KubeConfig;
}

/** Reads where and who; does not connect yet. */
export async function loadConnection(options: ConnectionOptions = {}): Promise<KubeConnection | KubeError> {
  const env = options.env ?? process.env;
  const named = options.kubeconfig ?? env["KUBECONFIG"] ?? "";
  const selected = options.context !== undefined || options.cluster !== undefined || options.user !== undefined;
  const inPod = (env["KUBERNETES_SERVICE_HOST"] ?? "") !== "";
  const preferPod = options.inCluster ?? (named === "" && !selected && inPod);
  if (preferPod) return podConnection(options, env);
  const { loadKubeConfig } = await import("./kubeconfig.ts");
  return loadKubeConfig(options, named, env);
}

/** Token and CA are read again when they are older than this, in milliseconds (the kubelet renews tokens long before they end). */
const rereadMs = 10_000;

function podConnection(
  options: ConnectionOptions,
  env: Readonly<Record<string, string | undefined>>,
): KubeConnection | KubeError {
  const folder = options.accountFolder ?? "/var/run/secrets/kubernetes.io/serviceaccount";
  const clock = options.clock ?? systemClock;
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "443";
  const server = URL.parse(`https://${host.includes(":") ? `[${host}]` : host}:${port}`);
  if (host === "" || server === null) {
    const reason = "this is not a pod (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not name an API server)";
    return new KubeError({ code: "kube.config", reason });
  }
  let read: { readonly credentials: Credentials | KubeError; readonly atMs: number } | undefined;
  return {
    server,
    namespace: tryRead(`${folder}/namespace`)?.trim() ?? "default",
    credentials: () => {
      if (read === undefined || clock.nowMs() - read.atMs > rereadMs || read.credentials instanceof KubeError)
        read = { credentials: readAccount(folder), atMs: clock.nowMs() };
      return Promise.resolve(read.credentials);
    },
    refresh: () => {
      read = undefined;
    },
  };
}

function readAccount(folder: string): Credentials | KubeError {
  try {
    const token = readFileSync(`${folder}/token`, "utf8").trim();
    const ca = readFileSync(`${folder}/ca.crt`, "utf8");
    if (token === "") return new KubeError({ code: "kube.credentials", reason: `${folder}/token is empty` });
    return { headers: { authorization: `Bearer ${token}` }, tls: { ca } };
  } catch (thrown) {
    return new KubeError({ code: "kube.credentials", reason: messageOf(thrown) });
  }
}

function tryRead(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
