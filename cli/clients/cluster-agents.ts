/** A cluster's agents: asked by port-forward to their own loopback, heard through the API server's container logs. */
import { objectPath } from "../../control/sources/kubernetes/paths.ts";
import { Failure } from "../render/failure.ts";
import type { Agent, LogOptions } from "./agent.ts";
import { parsePodName, type Cluster } from "./cluster.ts";
import { findAgents, type Component } from "./components.ts";
import { podLogLines } from "./pod-log.ts";
import { getFromPod } from "./pod-http.ts";

export interface AgentFilter {
  readonly node?: string;
  /** A pod: NAME or NAMESPACE/NAME. */
  readonly agent?: string;
}

/** @throws Failure where none fits. */
export async function clusterAgents(cluster: Cluster, filter: AgentFilter): Promise<Agent[]> {
  const all = await findAgents(cluster);
  return pick(all, filter).map((component) => agentOf(cluster, component));
}

/** @throws Failure that names those there are. */
export function pick(agents: readonly Component[], { node, agent }: AgentFilter): readonly Component[] {
  const wanted = agent === undefined ? undefined : parsePodName(agent, undefined);
  const fitting = agents.filter(
    (one) =>
      (node === undefined || one.node === node) &&
      (wanted === undefined ||
        (one.pod === wanted.name && (wanted.namespace === undefined || one.namespace === wanted.namespace))),
  );
  if (fitting.length > 0) return fitting;
  if (agent === undefined) {
    const nodes = [...new Set(agents.map((one) => one.node))];
    throw new Failure(`No agent runs on node ${node ?? ""}.`, `Nodes with one: ${listed(nodes)}.`);
  }
  throw new Failure(
    `There is no agent ${agent}${node === undefined ? "" : ` on node ${node}`}.`,
    `There are ${listed(agents.map((one) => `${one.pod} (${one.node})`))}.`,
  );
}

export function agentOf(cluster: Cluster, component: Component): Agent {
  const { namespace, pod, node, container } = component;
  const name = `${namespace}/${pod}`;
  return {
    name,
    node,
    isEnding: component.isEnding,
    get: async (path) => {
      if (!component.running) {
        throw new Failure(
          `Agent ${name} on ${node} isn't running: ${component.problem ?? "it has just ended"}.`,
          `kubectl -n ${namespace} describe pod ${pod} says why.`,
        );
      }
      const { status, body } = await getFromPod(cluster, { namespace, pod, port: adminPort }, path);
      if (status !== 200) {
        throw new Failure(
          `Agent ${name} answers ${path} with HTTP ${status}.`,
          `See its log: ambientctl log --agent ${name}`,
        );
      }
      return parse(body, name);
    },
    lines: (options: LogOptions) =>
      podLogLines(cluster, objectPath("Pod", namespace, pod, "log"), { container, ...options }),
  };
}

function parse(body: string, name: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new Failure(`Agent ${name} answers with something that is no JSON.`, "Is another program on its port 15000?");
  }
}

function listed(names: readonly string[]): string {
  return names.length > 10 ? `${names.slice(0, 10).join(", ")} and ${names.length - 10} more` : names.join(", ");
}

const adminPort = 15_000;
