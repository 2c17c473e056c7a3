/** `ambientctl version`: which release runs where, and where two differ. */
import { Command } from "commander";
import { skewOf, type VersionRow } from "../analyze/skew.ts";
import { findComponents, versionOfImage, type Component } from "../clients/components.ts";
import { formatOf, globalsOf } from "../global-options.ts";
import { renderData, say } from "../render/output.ts";
import { renderTable, type Column } from "../render/table.ts";
import { chooseCluster } from "../target.ts";
import { clientVersion } from "../version.ts";

export function versionCommand(): Command {
  const command = new Command("version").description(
    "show which release of ambientd runs on each node, and this program's own",
  );
  return command
    .option("--client", "only this program's own", false)
    .action(async ({ client }: { client: boolean }) => {
      const format = formatOf(command);
      const rows = client ? [] : (await installed(command)).map(rowOf);
      const skew = skewOf(clientVersion, rows);
      if (format !== "table") {
        process.stdout.write(renderData(format, { client: clientVersion, ...(!client && { components: rows, skew }) }));
        return;
      }
      process.stdout.write(`ambientctl ${clientVersion}\n`);
      if (client) return;
      if (rows.length === 0) return say("ambientd is not installed in this cluster: ambientctl install does it.");
      process.stdout.write(`\n${renderTable(columns, rows)}`);
      for (const sentence of skew) say(sentence);
    });
}

async function installed(command: Command): Promise<Component[]> {
  const cluster = await chooseCluster(command, "ambientctl version --client asks nobody.");
  const { namespace } = globalsOf(command);
  return (await findComponents(cluster)).filter((one) => namespace === undefined || one.namespace === namespace);
}

function rowOf({
  running: _running,
  isEnding: _isEnding,
  container: _container,
  problem,
  ...of
}: Component): VersionRow {
  const row = { ...of, version: versionOfImage(of.image) };
  return problem === undefined ? row : { ...row, problem };
}

const columns: readonly Column<VersionRow>[] = [
  { heading: "component", cell: (row) => row.component },
  { heading: "node", cell: (row) => row.node },
  { heading: "pod", cell: (row) => `${row.namespace}/${row.pod}` },
  { heading: "version", cell: (row) => row.version },
  { heading: "image", cell: (row) => row.image },
  { heading: "ready", cell: (row) => (row.ready ? "yes" : `no: ${row.problem ?? "unknown"}`) },
];
