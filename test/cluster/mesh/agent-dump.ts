/** What a node's agent knows, by its own word. */
import type { Cluster } from "../cluster.ts";
import { systemNamespace } from "./install.ts";
import { podOf } from "./parts-of-ours.ts";

export interface AgentDump {
  /** Everybody control told it of. */
  readonly workloads: readonly {
    readonly name: string;
    readonly namespace: string;
    readonly workloadIps: readonly string[];
    readonly serviceAccount: string;
    readonly protocol: "HBONE" | "TCP";
  }[];
  readonly certificates: readonly { readonly identity: string; readonly state: string }[];
  /** The pods it serves, by UID. */
  readonly workloadState: Readonly<Record<string, unknown>>;
}

export async function agentDump(cluster: Cluster, node: string): Promise<AgentDump> {
  const { metadata } = await podOf(cluster, "agent", node);
  const asks = [cluster.parts.app, "get", "http://127.0.0.1:15000/config_dump"];
  const { stdout, stderr } = await cluster.command(await cluster.inPodNetwork(systemNamespace, metadata.name, asks));
  const { body, error } = JSON.parse(stdout) as { body?: AgentDump; error?: string };
  if (body === undefined) throw new Error(`no dump of the agent on ${node}: ${error ?? stderr}`);
  return body;
}
