/** Programs as they are shipped, for whoever measures them: compiled once for each state of the sources, and kept. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { checkoutRoot } from "./programs.ts";

/**
 * As the image is made, but for the types, which nobody checks here: seconds when there is something new. In a release they are there.
 * @returns the folder that holds `bin/ambientd.js`. @throws with what the compiler says.
 */
export async function compiledPrograms(): Promise<string> {
  if (import.meta.url.endsWith(".js")) return checkoutRoot;
  const folder = join(cache, sourceHash());
  if (!existsSync(folder)) await compile(folder);
  const now = new Date();
  utimesSync(folder, now, now);
  forgetOldest();
  return folder;
}

async function compile(folder: string): Promise<void> {
  const unfinished = `${folder}.${process.pid}`;
  try {
    mkdirSync(unfinished, { recursive: true });
    const flags = ["-p", "tsconfig.build.json", "--noCheck", "--sourceMap", "false", "--outDir", unfinished];
    await node("node_modules/typescript/bin/tsc", ...flags);
    await node("scripts/bundle-agent.ts", "--dist", unfinished);
    const { name, version } = JSON.parse(readFileSync(join(checkoutRoot, "package.json"), "utf8")) as Manifest;
    writeFileSync(join(unfinished, "package.json"), JSON.stringify({ name, version, type: "module" }));
    // Somebody else may have been faster.
    if (!existsSync(folder)) renameSync(unfinished, folder);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

/** Of everything that the result depends on, whatever its times. */
function sourceHash(): string {
  const hash = createHash("sha256");
  for (const file of globSync(inputs, { cwd: checkoutRoot }).sort()) {
    if (file.endsWith(".test.ts")) continue;
    hash.update(`${file}\0`).update(
      createHash("sha256")
        .update(readFileSync(join(checkoutRoot, file)))
        .digest(),
    );
  }
  return hash.digest("hex").slice(0, 12);
}

/** A lab that still runs an older one has used it lately. */
function forgetOldest(): void {
  const kept = readdirSync(cache)
    .map((name) => ({ name, usedMs: statSync(join(cache, name)).mtimeMs }))
    .sort((a, b) => b.usedMs - a.usedMs);
  for (const { name } of kept.slice(programsKept)) rmSync(join(cache, name), { recursive: true, force: true });
}

async function node(script: string, ...argv: string[]): Promise<void> {
  try {
    await promisify(execFile)(process.execPath, [join(checkoutRoot, script), ...argv], { cwd: checkoutRoot });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${script} failed: ${(stdout + stderr).trim()}`, { cause: error });
  }
}

interface Manifest {
  readonly name: string;
  readonly version: string;
}

/** Packages are found from there as from the checkout. */
const cache = join(checkoutRoot, "node_modules/.cache/ambientd/compiled");
const inputs = [
  "{agent,bin,cli,cni,control,core,lab,waypoint}/**/*.ts",
  "scripts/bundle-agent.ts",
  "package-lock.json",
  "tsconfig*.json",
];
const programsKept = 8;
