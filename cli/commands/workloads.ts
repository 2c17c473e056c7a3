/** `ambientctl workloads`: what the agents know of every workload, merged; where they disagree, who says what. */
import { Command } from "commander";
import { disagreementsOf, mergeWorkloads, type MergedWorkload } from "../analyze/merge-workloads.ts";
import { askThose, configDump, inForce } from "../clients/agent.ts";
import { addAgentOptions, agentsOf } from "../clients/agents.ts";
import type { AgentFilter } from "../clients/cluster-agents.ts";
import { formatOf, globalsOf } from "../global-options.ts";
import { print, say } from "../render/output.ts";
import type { Column } from "../render/table.ts";
import { chooseTarget } from "../target.ts";

export function workloadsCommand(): Command {
  const command = new Command("workloads").description(
    "list the workloads the agents know, and how they would reach them",
  );
  return addAgentOptions(command).action(async (filter: AgentFilter) => {
    const target = await chooseTarget(command);
    const { namespace } = globalsOf(command);
    const answers = await askThose(inForce(await agentsOf(target, filter)), configDump);
    const testimonies = answers.map(({ agent, answer }) => ({ node: agent.node, workloads: answer.workloads }));
    const rows = mergeWorkloads(testimonies).filter((row) => namespace === undefined || row.namespace === namespace);
    print(formatOf(command), columns, rows);
    if (formatOf(command) === "table") complain(rows);
  });
}

function complain(rows: readonly MergedWorkload[]): void {
  const sentences = rows.flatMap(disagreementsOf);
  for (const sentence of sentences.slice(0, most)) say(sentence);
  if (sentences.length > most) say(`… and ${sentences.length - most} more: -o json has all.`);
  if (sentences.length > 0) {
    say("  A change may be on its way: ask again. If it stays: ambientctl verify node");
  }
}

/** Sentences of disagreement that are shown. */
const most = 20;

const columns: readonly Column<MergedWorkload>[] = [
  { heading: "namespace", cell: (row) => row.namespace },
  { heading: "name", cell: (row) => row.name },
  { heading: "addresses", cell: (row) => row.workloadIps.join(",") },
  { heading: "node", cell: (row) => row.node },
  { heading: "protocol", cell: (row) => row.protocol },
  { heading: "service account", cell: (row) => row.serviceAccount },
  { heading: "status", cell: (row) => row.status },
  { heading: "policies", cell: (row) => row.authorizationPolicies.join(",") },
  { heading: "known by", cell: (row) => `${row.knownBy.length}/${row.knownBy.length + row.unknownTo.length}` },
];
