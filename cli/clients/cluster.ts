/** The cluster a command means: its API server, asked as kubectl would ask it. */
import { silentLog } from "../../core/base/log.ts";
import { KubernetesClient, type KubeList, type Query } from "../../control/sources/kubernetes/client.ts";
import { loadConnection, type KubeConnection } from "../../control/sources/kubernetes/connection.ts";
import { KubeError } from "../../control/sources/kubernetes/errors.ts";
import type { GlobalOptions } from "../global-options.ts";
import { Failure } from "../render/failure.ts";
import { clientVersion } from "../version.ts";
import { apiFailure } from "./api-failure.ts";

export interface Cluster {
  readonly client: KubernetesClient;
  readonly connection: KubeConnection;
  readonly flags: GlobalOptions;
  /** Milliseconds one request may take. */
  readonly timeoutMs: number;
}

/** @throws Failure where the kubeconfig names no cluster. Nobody is asked yet. */
export async function openCluster(flags: GlobalOptions): Promise<Cluster> {
  const { kubeconfig, context, cluster, user } = flags;
  const connection = await loadConnection({
    ...(kubeconfig !== undefined && { kubeconfig }),
    ...(context !== undefined && { context }),
    ...(cluster !== undefined && { cluster }),
    ...(user !== undefined && { user }),
  });
  if (connection instanceof KubeError) throw apiFailure(connection);
  const timeoutMs = flags.requestTimeout === 0 ? longestMs : (flags.requestTimeout ?? usualMs);
  const userAgent = `ambientctl/${clientVersion}`;
  const client = new KubernetesClient({ connection, log: silentLog, userAgent, timeoutMs });
  return { client, connection, flags, timeoutMs };
}

/** What the API server says. @throws Failure where it says no, or nothing. */
export async function answerOf<T>(asked: Promise<T | KubeError>): Promise<T> {
  const answer = await asked;
  if (answer instanceof KubeError) throw apiFailure(answer);
  return answer;
}

/** Every object of a collection, page by page. @throws Failure */
export async function listAll<T>(cluster: Cluster, path: string, query: Query = {}): Promise<T[]> {
  const all = await tryListAll<T>(cluster, path, query);
  if (all instanceof KubeError) throw apiFailure(all);
  return all;
}

/** As {@link listAll}, for callers who know what to do about a no. */
export async function tryListAll<T>({ client }: Cluster, path: string, query: Query = {}): Promise<T[] | KubeError> {
  const items: T[] = [];
  let next: string | undefined;
  do {
    const page: KubeList<T> | KubeError = await client.list<T>(path, { limit: 500, ...query, continue: next });
    if (page instanceof KubeError) return page;
    items.push(...page.items);
    next = page.metadata.continue === "" ? undefined : page.metadata.continue;
  } while (next !== undefined);
  return items;
}

/** @throws Failure where a `kubectl`-like name is missing a namespace part or has one too many. */
export function parsePodName(
  text: string,
  namespace: string | undefined,
): { namespace: string | undefined; name: string } {
  const parts = text.split("/");
  const [first = "", second] = parts;
  if (parts.length > 2 || first === "" || second === "") {
    throw new Failure(`"${text}" is no pod.`, "Write NAME, or NAMESPACE/NAME.");
  }
  return second === undefined ? { namespace, name: first } : { namespace: first, name: second };
}

const usualMs = 30_000;
/** The longest a timer can be. */
const longestMs = 2_147_483_647;
