/** Foreign load generators and servers: the machine's own, or out of Debian's packages, unpacked beside it (an installed nginx would start). */
import { find } from "../../scripts/peers.ts";
import { unpackDebian, unpackedCommand, whyNotRunning } from "../../test/cluster/parts/debian.ts";
import { Unavailable } from "../../test/cluster/unavailable.ts";

export type ToolName = "iperf3" | "wrk" | "nginx";

/** How a command line that runs the tool begins; works in any pod. */
export interface Tool {
  readonly name: ToolName;
  readonly argv: readonly string[];
}

/** Of each tool that can be had, how to run it; of each other one why not. To be asked where there is a network. */
export async function findTools(wanted: readonly ToolName[]): Promise<ReadonlyMap<ToolName, Tool | Unavailable>> {
  const found = new Map<ToolName, Tool | Unavailable>();
  let unpacked: string | Unavailable | undefined;
  for (const name of wanted) {
    const installed = find(name);
    if (installed !== undefined) {
      found.set(name, { name, argv: [installed] });
      continue;
    }
    unpacked ??= await unpackDebian({ name: "bench", packages });
    found.set(name, unpacked instanceof Unavailable ? unpacked : await toolIn(unpacked, name));
  }
  return found;
}

async function toolIn(folder: string, name: ToolName): Promise<Tool | Unavailable> {
  const { path, version } = layout[name];
  const argv = unpackedCommand(folder, path);
  return (await whyNotRunning(argv, version)) ?? { name, argv };
}

const layout: Readonly<Record<ToolName, { path: string; version: string }>> = {
  iperf3: { path: "usr/bin/iperf3", version: "--version" },
  wrk: { path: "usr/bin/wrk", version: "--version" },
  nginx: { path: "usr/sbin/nginx", version: "-v" },
};

/** With those libraries of theirs that a small Debian lacks. */
const packages = ["iperf3", "libiperf0", "libsctp1", "wrk", "libluajit-5.1-2", "libluajit-5.1-common", "nginx"];
