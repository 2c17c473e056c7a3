/**
 * Kubeconfig files, merged as kubectl merges them; what they say of credentials (certificates, tokens, exec plugins) is
 * carried out by @kubernetes/client-node.
 */
import { existsSync, readFileSync } from "node:fs";
import { Agent } from "node:http";
import type { RequestOptions } from "node:https";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { parse } from "yaml";
import { messageOf } from "../../../core/base/errors.ts";
import { isRecord } from "../fields.ts";
import type { ConnectionOptions, Credentials, KubeConnection, TlsMaterial } from "./connection.ts";
import { KubeError } from "./errors.ts";

/**
 * @param named paths with `:` between them; empty means ~/.kube/config.
 * @param env whose HOME counts.
 */
export function loadKubeConfig(
  options: ConnectionOptions,
  named: string,
  env: Readonly<Record<string, string | undefined>>,
): KubeConnection | KubeError {
  const home = env["HOME"] ?? homedir();
  const files = named === "" ? [join(home, ".kube", "config")] : named.split(delimiter).filter((file) => file !== "");
  const load = (): KubeConfig | KubeError =>
    select(mergeFiles(files, options.kubeconfig !== undefined), options, files);
  const first = load();
  if (first instanceof KubeError) return first;
  const cluster = first.getCurrentCluster();
  const server = URL.parse(cluster?.server ?? "");
  if (server === null) return config(`cluster "${cluster?.name ?? ""}" has no usable server address`);
  let current: KubeConfig | undefined = first;
  return {
    server,
    namespace: first.getContextObject(first.getCurrentContext())?.namespace ?? "default",
    kubeConfig: first,
    credentials: async () => {
      const loaded = current ?? load();
      if (loaded instanceof KubeError) return loaded;
      current = loaded;
      return credentialsOf(loaded);
    },
    refresh: () => {
      current = undefined;
    },
  };
}

/** A kubeconfig as far as it is looked at here. */
interface Merged {
  readonly clusters: Record<string, unknown>[];
  readonly contexts: Record<string, unknown>[];
  readonly users: Record<string, unknown>[];
  currentContext: string | undefined;
}

const lists = ["clusters", "contexts", "users"] as const;

/** The first file to say something wins; files that don't exist are passed over, unless they were asked for by name. */
function mergeFiles(files: readonly string[], mustExist: boolean): Merged | KubeError {
  const merged: Merged = { clusters: [], contexts: [], users: [], currentContext: undefined };
  for (const file of files) {
    if (!existsSync(file)) {
      if (mustExist) return config(`${file} does not exist`);
      continue;
    }
    const read = readConfig(file);
    if (read instanceof KubeError) return read;
    for (const list of lists) {
      const entries: readonly unknown[] = Array.isArray(read[list]) ? (read[list] as unknown[]) : [];
      for (const entry of entries.filter(isRecord)) {
        if (merged[list].some((known) => known["name"] === entry["name"])) continue;
        merged[list].push(withAbsolutePaths(entry, dirname(resolve(file))));
      }
    }
    const context = read["current-context"];
    if (merged.currentContext === undefined && typeof context === "string" && context !== "")
      merged.currentContext = context;
  }
  return merged;
}

function readConfig(file: string): Readonly<Record<string, unknown>> | KubeError {
  try {
    const value: unknown = parse(readFileSync(file, "utf8"));
    if (value === null) return {};
    return isRecord(value) ? value : config(`${file} is not a kubeconfig`);
  } catch (thrown) {
    return config(`${file} cannot be read: ${messageOf(thrown).split("\n")[0] ?? ""}`);
  }
}

/** Paths in a kubeconfig are relative to the file. */
function withAbsolutePaths(entry: Readonly<Record<string, unknown>>, folder: string): Record<string, unknown> {
  const copy = structuredClone(entry) as Record<string, unknown>;
  const cluster = copy["cluster"];
  const user = copy["user"];
  if (isRecord(cluster)) copy["cluster"] = absolute(cluster, ["certificate-authority"], folder);
  if (!isRecord(user)) return copy;
  const made = absolute(user, ["client-certificate", "client-key", "tokenFile"], folder);
  const { exec, tokenFile } = made;
  // A bare name is looked for in PATH.
  if (isRecord(exec) && String(exec["command"]).includes("/")) made["exec"] = absolute(exec, ["command"], folder);
  if (typeof tokenFile === "string" && tokenFile !== "")
    made["auth-provider"] = { name: "tokenFile", config: { tokenFile } };
  copy["user"] = made;
  return copy;
}

function absolute(
  record: Readonly<Record<string, unknown>>,
  names: readonly string[],
  folder: string,
): Record<string, unknown> {
  const changed = names.flatMap((name) => {
    const value = record[name];
    return typeof value === "string" && value !== "" ? [[name, resolve(folder, value)] as const] : [];
  });
  return { ...record, ...Object.fromEntries(changed) };
}

function select(
  merged: Merged | KubeError,
  options: ConnectionOptions,
  files: readonly string[],
): KubeConfig | KubeError {
  if (merged instanceof KubeError) return merged;
  const name = options.context ?? merged.currentContext;
  const contexts = namesOf(merged.contexts);
  const context = merged.contexts.find((known) => known["name"] === name);
  const chosen = isRecord(context?.["context"]) ? context["context"] : {};
  const cluster = options.cluster ?? chosen["cluster"];
  const user = options.user ?? chosen["user"];
  if (context === undefined && (options.context !== undefined || options.cluster === undefined)) {
    if (contexts.length === 0) return config(`there is no context in ${files.join(", ")}`);
    const known = `contexts are ${contexts.join(", ")}`;
    return config(name === undefined ? `no context is chosen; ${known}` : `there is no context "${name}"; ${known}`);
  }
  for (const [what, wanted, known] of [
    ["cluster", cluster, namesOf(merged.clusters)],
    ["user", user, namesOf(merged.users)],
  ] as const) {
    if (typeof wanted === "string" && !known.includes(wanted))
      return config(`there is no ${what} "${wanted}"; known are ${known.join(", ")}`);
  }
  const current = { name: "chosen", context: { ...chosen, cluster, user } };
  try {
    const loaded = new KubeConfig();
    loaded.loadFromString(
      JSON.stringify({
        clusters: merged.clusters,
        users: merged.users,
        contexts: [current],
        "current-context": current.name,
      }),
    );
    return loaded;
  } catch (thrown) {
    return config(messageOf(thrown));
  }
}

async function credentialsOf(loaded: KubeConfig): Promise<Credentials | KubeError> {
  const filled: RequestOptions & { auth?: string | null } = {};
  const cluster = loaded.getCurrentCluster();
  const plain = cluster?.server.startsWith("http:") === true && (cluster.proxyUrl ?? "") === "";
  try {
    // Over plain HTTP there is nothing to present but headers, and the library refuses the rest.
    if (plain) return { headers: {}, tls: {} };
    await loaded.applyToHTTPSOptions(filled);
  } catch (thrown) {
    return new KubeError({ code: "kube.credentials", reason: messageOf(thrown).trim() });
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(filled.headers ?? {}))
    if (typeof value === "string") headers[name.toLowerCase()] = value;
  if (typeof filled.auth === "string" && filled.auth !== "")
    headers["authorization"] = `Basic ${Buffer.from(filled.auth).toString("base64")}`;
  const proxy = (cluster?.proxyUrl ?? "") !== "" && filled.agent instanceof Agent ? filled.agent : undefined;
  return { headers, tls: tlsOf(filled), ...(proxy === undefined ? {} : { agent: proxy }) };
}

function tlsOf(filled: RequestOptions): TlsMaterial {
  const text = (value: unknown): string | undefined =>
    typeof value === "string" ? value : Buffer.isBuffer(value) ? value.toString("utf8") : undefined;
  const ca = text(filled.ca);
  const cert = text(filled.cert);
  const key = text(filled.key);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(filled.servername === undefined ? {} : { servername: filled.servername }),
    ...(filled.rejectUnauthorized === undefined ? {} : { rejectUnauthorized: filled.rejectUnauthorized }),
  };
}

function namesOf(entries: readonly Record<string, unknown>[]): string[] {
  return entries.flatMap(({ name }) => (typeof name === "string" ? [name] : []));
}

function config(reason: string): KubeError {
  return new KubeError({ code: "kube.config", reason });
}
