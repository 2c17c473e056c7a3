/** Programs out of Debian's packages that are unpacked beside the machine, not installed: some would start a server, and none is ours to add. */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { find } from "../../../scripts/peers.ts";
import { run, tail } from "../command.ts";
import { sayNothing, type Say } from "../say.ts";
import { Unavailable } from "../unavailable.ts";
import { cached } from "./cache.ts";

/** Packages that are fetched together. */
export interface DebianPackages {
  /** Of their folder in the cache. */
  readonly name: string;
  /** With those libraries of theirs that a small machine lacks: dependencies are not looked for. */
  readonly packages: readonly string[];
  /** Of the cache. Default "peers". */
  readonly room?: string;
}

/** The folder that holds what these packages hold, fetched once for each release of the distribution. */
export function unpackDebian(what: DebianPackages, say: Say = sayNothing): Promise<string | Unavailable> {
  const { name, packages, room = "peers" } = what;
  const key = createHash("sha256").update(packages.join()).digest("hex").slice(0, 8);
  return cached(`${name}-${release()}-${key}`, (folder) => fetchInto(folder, packages, say), room);
}

/** How a command line of an unpacked program begins. The same libraries wherever it is run: a pod has the environment of its node. */
export function unpackedCommand(folder: string, path: string): string[] {
  const libraries = globSync("{,usr/}lib/*-linux-gnu*", { cwd: folder }).map((each) => join(folder, each));
  return ["env", `LD_LIBRARY_PATH=${libraries.join(":")}`, join(folder, path)];
}

/** Why that program does not run here, if it doesn't. @param version asks it for its version; that it says one is enough: wrk fails then. */
export async function whyNotRunning(command: readonly string[], version: string): Promise<Unavailable | undefined> {
  const { stdout, stderr } = await run([...command, version], { timeoutMs: 10_000 });
  const runs = /\d+\.\d+/.test(stdout + stderr) && !stderr.includes("error while loading");
  return runs
    ? undefined
    : new Unavailable(`Debian's ${basename(command.at(-1) ?? "")} does not run here: ${tail(stderr, 1)}`);
}

async function fetchInto(folder: string, packages: readonly string[], say: Say): Promise<Unavailable | undefined> {
  if (find("apt-get") === undefined || find("dpkg-deb") === undefined)
    return new Unavailable(`no apt-get here to fetch ${packages.join(", ")} with (Debian and its children only)`);
  say(`Fetching ${packages.length} Debian packages…`);
  const fetch = () => run(["apt-get", "download", "-q", ...packages], { cwd: folder, timeoutMs: 300_000 });
  let fetched = await fetch();
  if (fetched.code !== 0) {
    await run(["apt-get", "update", "-q"], { timeoutMs: 300_000 });
    fetched = await fetch();
  }
  if (fetched.code !== 0)
    return new Unavailable(`the Debian registry does not give ${packages.join(", ")}: ${tail(fetched.stderr, 1)}`);
  for (const file of globSync("*.deb", { cwd: folder })) {
    const { code, stderr } = await run(["dpkg-deb", "-x", join(folder, file), folder]);
    if (code !== 0) return new Unavailable(`the package ${file} can't be unpacked: ${tail(stderr, 1)}`);
  }
  return undefined;
}

function release(): string {
  const [, id = "unknown"] = /^VERSION_CODENAME=(\S+)$/m.exec(readFileSync("/etc/os-release", "utf8")) ?? [];
  return id;
}
