/** The folder that says whether there is a cluster, and whose start it is while there is not yet one. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { processStat } from "../../core/linux/procfs.ts";
import { mustRun, run } from "./command.ts";
import { running } from "./host/processes.ts";
import { bridge, stateFolder } from "./layout.ts";
import type { Parts } from "./parts/parts.ts";

/** Written last, with what the cluster was made of: without it a start goes on, or was interrupted. */
const upFile = join(stateFolder, "up");
const starterFile = join(stateFolder, "starter");

/** What is on the machine: nothing, a cluster, one that another process is starting, or the rest of one. */
export function stateOfCluster(): "absent" | "up" | "starting" | "broken" {
  if (!existsSync(stateFolder)) return running().length === 0 ? "absent" : "broken";
  if (!existsSync(upFile)) return starterLives() ? "starting" : "broken";
  // The machine was started anew: of the cluster only files are left.
  return existsSync(`/sys/class/net/${bridge}`) ? "up" : "broken";
}

/** Whether this process is in the middle of a start. */
export function startsHere(): boolean {
  return stateOfCluster() === "starting" && starter()?.pid === process.pid;
}

/** Whether the cluster that is up was made of these parts. */
export function isMadeOf(parts: Parts): boolean {
  return readFileSync(upFile, "utf8") === JSON.stringify(parts);
}

/** The last step of a start. */
export function declareUp(parts: Parts): void {
  writeFileSync(upFile, JSON.stringify(parts));
}

/** @returns whether this process may start a cluster: of several that begin at once, one gets the folder. */
export async function claim(): Promise<boolean> {
  const own = `${stateFolder}.${process.pid}`;
  const name = JSON.stringify(processOf(process.pid));
  mkdirSync(own, { mode: 0o700 });
  writeFileSync(join(own, basename(starterFile)), name);
  try {
    renameSync(own, stateFolder);
  } catch {
    rmSync(own, { recursive: true });
    return false;
  }
  if (!(await canHoldOverlays())) {
    await mustRun(["mount", "-t", "tmpfs", "-o", "mode=0700,size=75%", "tmpfs", stateFolder]);
    writeFileSync(starterFile, name);
  }
  return true;
}

/** Removes it, and what those left who did not get it. */
export async function removeState(): Promise<void> {
  while (isMounted()) await mustRun(["umount", stateFolder]);
  const parent = dirname(stateFolder);
  for (const name of readdirSync(parent))
    if (name === basename(stateFolder) || name.startsWith(`${basename(stateFolder)}.`))
      rmSync(join(parent, name), { recursive: true, force: true });
}

/** In a container /var/lib is an overlay itself as a rule, and containers' layers can't lie on one: memory can hold them. */
async function canHoldOverlays(): Promise<boolean> {
  const trial = join(stateFolder, "trial");
  for (const name of ["a", "b", "c", "d"]) mkdirSync(join(trial, name), { recursive: true });
  const options = `lowerdir=${trial}/a,upperdir=${trial}/b,workdir=${trial}/c`;
  const { code } = await run(["unshare", "--mount", "mount", "-t", "overlay", "-o", options, "overlay", `${trial}/d`]);
  rmSync(trial, { recursive: true });
  return code === 0;
}

function isMounted(): boolean {
  return readFileSync("/proc/self/mounts", "utf8").includes(` ${stateFolder} `);
}

function starterLives(): boolean {
  const found = starter();
  return found !== undefined && processOf(found.pid).startTime === found.startTime;
}

function starter(): Starter | undefined {
  try {
    return JSON.parse(readFileSync(starterFile, "utf8")) as Starter;
  } catch {
    return undefined;
  }
}

/** Both together name a process: its id alone may be a later one's. */
interface Starter {
  readonly pid: number;
  readonly startTime: string;
}

function processOf(pid: number): Starter {
  return { pid, startTime: String(processStat(pid)?.startTime) };
}
