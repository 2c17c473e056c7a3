/** `ambientctl certificates`: which identities the agents hold, and for how long. */
import { Command } from "commander";
import { askThose, configDump, inForce, type Agent, type ConfigDump } from "../clients/agent.ts";
import { addAgentOptions, agentsOf } from "../clients/agents.ts";
import type { AgentFilter } from "../clients/cluster-agents.ts";
import { formatOf, globalsOf } from "../global-options.ts";
import { print } from "../render/output.ts";
import type { Column } from "../render/table.ts";
import { chooseTarget } from "../target.ts";

interface Row {
  readonly node: string;
  readonly identity: string;
  /** `Available`, `Initializing`, or `Unavailable: …` with the reason. */
  readonly state: string;
  readonly serialNumber: string;
  readonly validFrom: string;
  readonly expirationTime: string;
}

export function certificatesCommand(): Command {
  const command = new Command("certificates").description("list the certificates each agent holds");
  return addAgentOptions(command).action(async (filter: AgentFilter) => {
    const target = await chooseTarget(command);
    const { namespace } = globalsOf(command);
    const answers = await askThose(inForce(await agentsOf(target, filter)), configDump);
    const rows = answers.flatMap(({ agent, answer }) => certificatesOf(agent, answer));
    print(formatOf(command), columns, namespace === undefined ? rows : rows.filter(isOf(namespace)));
  });
}

function certificatesOf({ node }: Agent, { certificates }: ConfigDump): Row[] {
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

function isOf(namespace: string): (row: Row) => boolean {
  return ({ identity }) => identity.includes(`/ns/${namespace}/`);
}

const columns: readonly Column<Row>[] = [
  { heading: "node", cell: (row) => row.node },
  { heading: "identity", cell: (row) => row.identity },
  { heading: "state", cell: (row) => row.state },
  { heading: "valid from", cell: (row) => row.validFrom },
  { heading: "expires", cell: (row) => row.expirationTime },
  { heading: "serial", cell: (row) => row.serialNumber },
];
