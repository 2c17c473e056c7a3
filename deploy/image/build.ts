/**
 * Builds the image of this checkout by the Dockerfile beside it, without a container engine and without a registry: bases
 * made by mmdebstrap stand in under the names in FROM, buildah builds. The result is kept by the hash of what went in.
 *
 *     node deploy/image/build.ts [--out FILE]
 */
import { execFile, spawn } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { find, installPeers, type Peer } from "../../scripts/peers.ts";
import { Builder } from "./builder.ts";
import { contextHash } from "./context.ts";

export interface BuiltImage {
  /** An OCI archive, as `ctr images import` takes it. */
  readonly archive: string;
  /** What it is called in the archive: docker.io/library/ambientd:TAG. */
  readonly name: string;
  readonly tag: string;
  /** 0 when it was there already. */
  readonly seconds: number;
}

/** It can't be built here, and why. */
export interface Unavailable {
  readonly missing: string;
}

export interface BuildOptions {
  /** Also copy the archive there. */
  readonly out?: string;
  /** Lines about what is being done, as it may take minutes. */
  readonly say?: (line: string) => void;
}

export async function build({ out, say = () => {} }: BuildOptions = {}): Promise<BuiltImage | Unavailable> {
  const hash = contextHash(checkout, ["deploy/image/Dockerfile"]).slice(0, 12);
  const image = {
    archive: join(cache, hash, "ambientd.oci.tar"),
    name: `docker.io/library/ambientd:${hash}`,
    tag: hash,
  };
  let seconds = 0;
  if (!existsSync(image.archive)) {
    const missing = whatIsMissing();
    if (missing !== undefined) return { missing };
    mkdirSync(cache, { recursive: true });
    const unlock = await lock(join(cache, "lock"), say);
    try {
      if (!existsSync(image.archive)) seconds = await buildArchive(image, say);
    } catch (thrown) {
      return { missing: thrown instanceof Error ? thrown.message : String(thrown) };
    } finally {
      unlock();
    }
  }
  const now = new Date();
  utimesSync(join(cache, hash), now, now);
  if (out !== undefined) copyFileSync(image.archive, out);
  return { ...image, seconds };
}

async function buildArchive(
  { archive, name, tag }: Omit<BuiltImage, "seconds">,
  say: (line: string) => void,
): Promise<number> {
  const started = performance.now();
  const revision = await gitRevision();
  const builder = await Builder.prepare({ cache, checkout, say });
  say(`building the image ${tag}`);
  const half = `${archive}.half`;
  mkdirSync(join(cache, tag), { recursive: true });
  rmSync(half, { force: true });
  await builder.build({
    dockerfile: join(checkout, "deploy/image/Dockerfile"),
    context: checkout,
    name,
    revision,
    archive: half,
  });
  renameSync(half, archive);
  forgetOldest();
  return Math.round((performance.now() - started) / 100) / 10;
}

function whatIsMissing(): string | undefined {
  if (process.getuid?.() !== 0)
    return "root, which building an image takes here: run as root, or docker build -f deploy/image/Dockerfile .";
  const refusals = installPeers(tools).filter((line) => !line.startsWith("installed "));
  const missing = tools.filter(({ command }) => find(command) === undefined);
  if (missing.length > 0) return `${missing.map(({ debian }) => debian).join(", ")} (${refusals.join("; ")})`;
  return undefined;
}

/** Held by a process of its own that ends with us, whatever happens. */
async function lock(file: string, say: (line: string) => void): Promise<() => void> {
  const holder = spawn("flock", [file, "sh", "-c", "echo held; exec cat"], { stdio: ["pipe", "pipe", "ignore"] });
  const waiting = setTimeout(() => say("waiting for another build of the image"), 2_000);
  await new Promise<void>((settle, refuse) => {
    holder.stdout.once("data", () => settle());
    holder.once("exit", () => refuse(new Error(`flock ${file} ended`)));
    holder.once("error", refuse);
  }).finally(() => clearTimeout(waiting));
  holder.removeAllListeners("exit");
  return () => holder.stdin.end();
}

function gitRevision(): Promise<string> {
  return new Promise((settle) => {
    execFile("git", ["-C", checkout, "rev-parse", "HEAD"], (error, stdout) =>
      settle(error === null ? stdout.trim() : "unknown"),
    );
  });
}

/** Keeps the newest few: each is a hundred megabytes. */
function forgetOldest(): void {
  const images = readdirSync(cache)
    .filter((name) => /^[0-9a-f]{12}$/.test(name))
    .map((name) => ({ name, usedMs: statSync(join(cache, name)).mtimeMs }))
    .sort((a, b) => b.usedMs - a.usedMs);
  for (const { name } of images.slice(imagesKept)) rmSync(join(cache, name), { recursive: true, force: true });
}

const checkout = join(import.meta.dirname, "../..");
const cache = join(process.env["AMBIENTD_CACHE"] ?? join(homedir() || tmpdir(), ".cache/ambientd"), "image");
const imagesKept = 4;
const tools: readonly Peer[] = [
  { command: "buildah", debian: "buildah" },
  { command: "mmdebstrap", debian: "mmdebstrap" },
  { command: "flock", debian: "util-linux" },
  { command: "npm", debian: "npm" },
];

if (import.meta.main) {
  const { values } = parseArgs({ options: { out: { type: "string" } } });
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const image = await build({ ...(values.out === undefined ? {} : { out: values.out }), say });
  if ("missing" in image) {
    say(`The image can't be built here: ${image.missing}`);
    process.exitCode = 2;
  } else {
    say(`${image.seconds === 0 ? "there already" : `built in ${image.seconds} s`}: ${image.name}`);
    process.stdout.write(`${image.archive}\n`);
  }
}
