/** Foreign load generators and servers: the machine's own, or out of Debian's packages, unpacked beside it (an installed nginx would start). */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { find } from "../../scripts/peers.ts";
import { mustRun, run, tail } from "../../test/cluster/command.ts";
import { cached } from "../../test/cluster/parts/cache.ts";
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
    unpacked ??= await unpack();
    found.set(name, unpacked instanceof Unavailable ? unpacked : await toolIn(unpacked, name));
  }
  return found;
}

function unpack(): Promise<string | Unavailable> {
  const key = createHash("sha256").update(packages.join()).digest("hex").slice(0, 8);
  return cached(`bench-${release()}-${key}`, fetchPackages, "peers");
}

async function fetchPackages(folder: string): Promise<Unavailable | undefined> {
  if (find("apt-get") === undefined || find("dpkg-deb") === undefined)
    return new Unavailable("is not installed, and there is no apt-get here to fetch it with");
  const fetch = () => run(["apt-get", "download", "-q", ...packages], { cwd: folder, timeoutMs: 120_000 });
  let fetched = await fetch();
  if (fetched.code !== 0) {
    await run(["apt-get", "update", "-q"], { timeoutMs: 120_000 });
    fetched = await fetch();
  }
  if (fetched.code !== 0)
    return new Unavailable(`is not installed, and the Debian registry does not give it: ${tail(fetched.stderr, 1)}`);
  for (const file of globSync("*.deb", { cwd: folder })) await mustRun(["dpkg-deb", "-x", join(folder, file), folder]);
  return undefined;
}

/** The same libraries wherever it is run: a pod has the environment of its node. */
async function toolIn(folder: string, name: ToolName): Promise<Tool | Unavailable> {
  const { path, version } = layout[name];
  const libraries = globSync("usr/lib/*-linux-gnu*", { cwd: folder }).map((each) => join(folder, each));
  const argv = ["env", `LD_LIBRARY_PATH=${libraries.join(":")}`, join(folder, path)];
  const { stdout, stderr } = await run([...argv, version], { timeoutMs: 10_000 });
  // wrk says its version and fails.
  return /\d+\.\d+/.test(stdout + stderr) && !stderr.includes("error while loading")
    ? { name, argv }
    : new Unavailable(`out of Debian's package does not run here: ${tail(stderr, 1)}`);
}

function release(): string {
  const [, id = "unknown"] = /^VERSION_CODENAME=(\S+)$/m.exec(readFileSync("/etc/os-release", "utf8")) ?? [];
  return id;
}

const layout: Readonly<Record<ToolName, { path: string; version: string }>> = {
  iperf3: { path: "usr/bin/iperf3", version: "--version" },
  wrk: { path: "usr/bin/wrk", version: "--version" },
  nginx: { path: "usr/sbin/nginx", version: "-v" },
};

/** With those libraries of theirs that a small Debian lacks. */
const packages = ["iperf3", "libiperf0", "libsctp1", "wrk", "libluajit-5.1-2", "libluajit-5.1-common", "nginx"];
