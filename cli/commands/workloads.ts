/** `ambientctl workloads`: what a node's agent knows of every pod. */
import { Command } from "commander";
import { configDump, type DumpedWorkload } from "../clients/agent.ts";
import { adminSocket, chooseLab, chooseNodes, labOption } from "../clients/lab.ts";
import { outputOption, print, type Format } from "../render/output.ts";

interface Row extends DumpedWorkload {
  /** Whose agent says so. */
  readonly agent: string;
}

export function workloadsCommand(): Command {
  return new Command("workloads")
    .description("list the workloads an agent knows, and how it would reach them")
    .option("--node <name>", "ask the agent of this node (default: the first)")
    .option("-n, --namespace <name>", "only this namespace")
    .addOption(labOption())
    .addOption(outputOption())
    .action(async (options: { node?: string; namespace?: string; output: Format }, command: Command) => {
      const lab = chooseLab(command);
      const [node = ""] = await chooseNodes(lab, options.node);
      const { workloads } = await configDump(adminSocket(lab, node));
      const rows = workloads
        .filter((workload) => options.namespace === undefined || workload.namespace === options.namespace)
        .map((workload): Row => ({ ...workload, agent: node }))
        .sort((a, b) => (a.uid < b.uid ? -1 : 1));
      print(options.output, columns, rows);
    });
}

const columns = [
  { heading: "namespace", cell: (row: Row) => row.namespace },
  { heading: "name", cell: (row: Row) => row.name },
  { heading: "addresses", cell: (row: Row) => row.workloadIps.join(",") },
  { heading: "node", cell: (row: Row) => row.node },
  { heading: "protocol", cell: (row: Row) => row.protocol },
  { heading: "service account", cell: (row: Row) => row.serviceAccount },
  { heading: "status", cell: (row: Row) => row.status },
  { heading: "policies", cell: (row: Row) => row.authorizationPolicies.join(",") },
];
