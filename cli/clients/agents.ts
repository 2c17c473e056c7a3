/** The agents a command means, wherever the mesh is. */
import { Option, type Command } from "commander";
import { Failure } from "../render/failure.ts";
import type { Target } from "../target.ts";
import type { Agent } from "./agent.ts";
import { clusterAgents, type AgentFilter } from "./cluster-agents.ts";
import { labAgents } from "./lab-agents.ts";

export function addAgentOptions(command: Command): Command {
  return command
    .option("--node <name>", "only the agent of this node")
    .addOption(new Option("--agent <pod>", "only this agent's pod, NAME or NAMESPACE/NAME (clusters)"));
}

/** @throws Failure where none fits. */
export async function agentsOf(target: Target, filter: AgentFilter): Promise<Agent[]> {
  if (target.kind === "cluster") return clusterAgents(target.cluster, filter);
  if (filter.agent !== undefined) {
    throw new Failure("--agent names a pod, and a lab's agents are none.", "Name the node instead: --node node1");
  }
  return labAgents(target.lab, filter.node);
}
