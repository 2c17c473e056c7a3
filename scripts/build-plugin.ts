/** `node scripts/build-plugin.ts [--out FILE] [--node FILE]`: makes the CNI plugin one executable, by the single-executable
 *  form of Node: the bundled program is written into a copy of node itself. It then needs nothing on the node but glibc. */
import { execFile, spawnSync } from "node:child_process";
import { chmod, copyFile, mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs, promisify } from "node:util";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { out: { type: "string" }, node: { type: "string" } } });
  const out = resolve(values.out ?? join(root, "dist", "ambient-cni"));
  const started = performance.now();
  await buildPlugin(out, values.node);
  const { size } = await stat(out);
  process.stdout.write(
    `${out}: ${(size / 1e6).toFixed(1)} MB in ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
  );
}

/** @param node whose copy carries the program: Node 24, of the architecture that the plugin is for. */
export async function buildPlugin(out: string, node: string = bundledNode()): Promise<void> {
  const workshop = await mkdtemp(join(tmpdir(), "ambient-cni-"));
  const unfinished = `${out}.${process.pid}.tmp`;
  try {
    const blob = await makeBlob(workshop, node);
    const executable = join(workshop, "ambient-cni");
    await copyFile(node, executable);
    strip(executable);
    await run(process.execPath, [postject(), executable, "NODE_SEA_BLOB", blob, "--sentinel-fuse", fuse]);
    await mkdir(dirname(out), { recursive: true });
    await copyFile(executable, unfinished);
    await chmod(unfinished, 0o755);
    await rename(unfinished, out);
  } finally {
    await rm(unfinished, { force: true });
    await rm(workshop, { recursive: true, force: true });
  }
}

async function makeBlob(workshop: string, node: string): Promise<string> {
  const bundle = join(workshop, "ambient-cni.cjs");
  await build({
    entryPoints: [join(root, "bin", "ambient-cni.ts")],
    outfile: bundle,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node24",
    minifySyntax: true,
    minifyWhitespace: true,
    logLevel: "warning",
    tsconfigRaw: {},
  });
  const config = join(workshop, "sea.json");
  const output = join(workshop, "ambient-cni.blob");
  // No code cache: it saves less than can be measured, and is refused, with a warning, on a processor unlike this one.
  // execArgvExtension: whatever NODE_OPTIONS the runtime has isn't meant for us.
  const sea = {
    main: bundle,
    output,
    disableExperimentalSEAWarning: true,
    useCodeCache: false,
    execArgv: ["--no-warnings"],
    execArgvExtension: "none",
  };
  await writeFile(config, JSON.stringify(sea));
  await run(node, ["--experimental-sea-config", config]);
  return output;
}

/** A sixth smaller without symbols; a machine without binutils makes the larger one. */
function strip(executable: string): void {
  spawnSync("strip", ["--strip-all", executable], { stdio: "ignore" });
}

function bundledNode(): string {
  try {
    return createRequire(import.meta.url).resolve(`node-linux-${process.arch}/bin/node`);
  } catch {
    return process.execPath;
  }
}

function postject(): string {
  return join(dirname(createRequire(import.meta.url).resolve("postject/package.json")), "dist", "cli.js");
}

const run = promisify(execFile);

/** Nodes of this version look for a program in themselves where this text stands (its last digit is then turned). */
const fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

if (import.meta.main) await main();
