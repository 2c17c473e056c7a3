/** Debian's haproxy: installed, or unpacked out of its package (which would start a server if it were installed). */
import { cpSync, globSync } from "node:fs";
import { dirname, join } from "node:path";
import { find } from "../../scripts/peers.ts";
import { mustRun, run, tail } from "../../test/cluster/command.ts";
import { cached } from "../../test/cluster/parts/cache.ts";
import { Unavailable } from "../../test/cluster/unavailable.ts";

/**
 * The first words of a command line.
 * @param folder that haproxy's user can read: the cache lies in a person's home, and is copied from.
 */
export async function haproxyProgram(folder: string): Promise<readonly string[] | Unavailable> {
  const installed = find("haproxy");
  if (installed !== undefined) return [installed];
  const unpacked = await cached("haproxy", unpack, "peers");
  if (unpacked instanceof Unavailable) return unpacked;
  const own = join(folder, "program");
  cpSync(join(unpacked, "usr"), join(own, "usr"), { recursive: true, verbatimSymlinks: true });
  return programIn(own);
}

async function unpack(folder: string): Promise<Unavailable | undefined> {
  if (find("apt-get") === undefined || find("dpkg-deb") === undefined)
    return new Unavailable("no haproxy: there is no apt-get here to fetch it with");
  const { code, stderr } = await run(["apt-get", "download", "-q", ...packages], { cwd: folder, timeoutMs: 60_000 });
  if (code !== 0) return new Unavailable(`no haproxy: the Debian registry does not give it: ${tail(stderr, 1)}`);
  for (const file of globSync("*.deb", { cwd: folder })) await mustRun(["dpkg-deb", "-x", join(folder, file), folder]);
  const works = await run([...programIn(folder), "-v"]);
  return works.code === 0 ? undefined : new Unavailable(`Debian's haproxy does not run here: ${tail(works.stderr, 1)}`);
}

function programIn(folder: string): string[] {
  const [library = ""] = globSync("usr/lib/*/liblua5.3.so.0", { cwd: folder });
  return ["env", `LD_LIBRARY_PATH=${join(folder, dirname(library))}`, join(folder, "usr/sbin/haproxy")];
}

/** With the libraries that a machine need not have. */
const packages = ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"];
