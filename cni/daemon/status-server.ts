/** What `ambientctl` asks the node daemon: GET /pods, every row with its reason; GET /status, the daemon as a whole. */
import type { LinkStatus } from "./zds-server.ts";
import type { PodStatus } from "./pod-status.ts";
import type { HttpAnswer, HttpRequest } from "./unix-http.ts";

export interface DaemonStatus {
  readonly node: string;
  readonly ready: boolean;
  /** Rows by status. */
  readonly pods: { readonly done: number; readonly pending: number; readonly error: number };
  readonly agents: readonly LinkStatus[];
  /** Namespaces held open. */
  readonly namespaces: number;
  /** Sockets of agents that are kept over their ends. */
  readonly listeners: number;
  /** Full rounds so far, and what they found different from what had been applied. */
  readonly rounds: number;
  readonly drift: number;
}

export interface StatusModules {
  readonly pods: () => readonly PodStatus[];
  readonly daemon: () => DaemonStatus;
}

export function statusHandler(modules: StatusModules): (request: HttpRequest) => HttpAnswer {
  return ({ method, path }) => {
    if (method !== "GET") return { status: 405, body: "only GET\n" };
    if (path === "/pods") return { status: 200, body: { pods: modules.pods() } };
    if (path === "/status") return { status: 200, body: modules.daemon() };
    if (path === "/ready") return modules.daemon().ready ? { status: 200 } : { status: 503 };
    return { status: 404, body: "there are /pods, /status and /ready here\n" };
  };
}

export function countByStatus(pods: readonly PodStatus[]): DaemonStatus["pods"] {
  const counts = { done: 0, pending: 0, error: 0 };
  for (const { status } of pods) counts[status] += 1;
  return counts;
}
