/** Programs out of Debian packages, unpacked beside the machine's own. */
import { readdirSync, readFileSync } from "node:fs";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { find } from "../../../scripts/peers.ts";
import { run, tail } from "../command.ts";
import type { Say } from "../say.ts";
import { Unavailable } from "../unavailable.ts";
import { cached } from "./cache.ts";
import { debianPackages } from "./versions.ts";

/** The folder that holds the packages' usr/bin, usr/sbin, usr/lib. */
export async function unpackDebian(say: Say): Promise<string | Unavailable> {
  const key = createHash("sha256").update(debianPackages.join()).digest("hex").slice(0, 8);
  return cached(`debian-${release()}-${key}`, async (folder) => {
    if (find("apt-get") === undefined || find("dpkg-deb") === undefined)
      return new Unavailable(
        `no apt-get here to fetch ${debianPackages.join(", ")} with (Debian and its children only)`,
      );
    say(`Fetching ${debianPackages.length} Debian packages…`);
    const fetched = await download(folder);
    if (fetched !== undefined) return fetched;
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".deb"))) {
      const { code, stderr } = await run(["dpkg-deb", "-x", join(folder, file), folder]);
      if (code !== 0) return new Unavailable(`the package ${file} can't be unpacked: ${tail(stderr, 1)}`);
    }
    return undefined;
  });
}

async function download(folder: string): Promise<Unavailable | undefined> {
  const fetch = () => run(["apt-get", "download", "-q", ...debianPackages], { cwd: folder, timeoutMs: 300_000 });
  if ((await fetch()).code === 0) return undefined;
  await run(["apt-get", "update", "-q"], { timeoutMs: 300_000 });
  const { code, stderr } = await fetch();
  if (code === 0) return undefined;
  return new Unavailable(`the Debian registry does not give ${debianPackages.join(", ")}: ${tail(stderr, 1)}`);
}

function release(): string {
  const [, id = "unknown"] = /^VERSION_CODENAME=(\S+)$/m.exec(readFileSync("/etc/os-release", "utf8")) ?? [];
  return id;
}
