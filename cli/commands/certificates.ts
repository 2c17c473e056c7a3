/** `ambientctl certificates`: which identities the agents hold, and for how long. */
import { Command } from "commander";
import { configDump } from "../clients/agent.ts";
import { adminSocket, chooseLab, chooseNodes, labOption } from "../clients/lab.ts";
import { outputOption, print, type Format } from "../render/output.ts";

interface Row {
  readonly node: string;
  readonly identity: string;
  readonly state: string;
  readonly serialNumber: string;
  readonly validFrom: string;
  readonly expirationTime: string;
}

export function certificatesCommand(): Command {
  return new Command("certificates")
    .description("list the certificates each agent holds")
    .option("--node <name>", "only the agent of this node")
    .addOption(labOption())
    .addOption(outputOption())
    .action(async (options: { node?: string; output: Format }, command: Command) => {
      const lab = chooseLab(command);
      const nodes = await chooseNodes(lab, options.node);
      const rows = await Promise.all(nodes.map((node) => certificatesOf(node, adminSocket(lab, node))));
      print(options.output, columns, rows.flat());
    });
}

async function certificatesOf(node: string, socketPath: string): Promise<Row[]> {
  const { certificates } = await configDump(socketPath);
  return certificates.map(({ identity, state, certChain }) => {
    const leaf = certChain[0];
    return {
      node,
      identity,
      state,
      serialNumber: leaf?.serialNumber ?? "",
      validFrom: leaf?.validFrom ?? "",
      expirationTime: leaf?.expirationTime ?? "",
    };
  });
}

const columns = [
  { heading: "node", cell: (row: Row) => row.node },
  { heading: "identity", cell: (row: Row) => row.identity },
  { heading: "state", cell: (row: Row) => row.state },
  { heading: "valid from", cell: (row: Row) => row.validFrom },
  { heading: "expires", cell: (row: Row) => row.expirationTime },
  { heading: "serial", cell: (row: Row) => row.serialNumber },
];
