/** The cgroup that a node's pods are under, in every hierarchy of the host: cgroup v1, v2, or both at once. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../../support/until.ts";

export function createCgroup(name: string): void {
  for (const { folder, controllers } of hierarchies()) {
    const own = join(folder, name);
    mkdirSync(own, { recursive: true });
    // A v1 cpuset without CPUs and memory takes no process.
    if (controllers.includes("cpuset"))
      for (const file of ["cpuset.cpus", "cpuset.mems"])
        writeFileSync(join(own, file), readFileSync(join(folder, file)));
    if (controllers === "unified") delegate(folder, own);
  }
}

/** Removes it with all below. What is in it was killed before; the kernel takes a moment to notice. */
export async function removeCgroup(name: string): Promise<void> {
  for (const folder of cgroupFolders(name))
    await until(`${folder} is empty and gone`, 20_000, () => removeTree(folder));
}

/** Its folders that exist, in all hierarchies. */
export function cgroupFolders(name: string): string[] {
  return hierarchies()
    .map(({ folder }) => join(folder, name))
    .filter((folder) => existsSync(folder));
}

/** Process ids, as the host numbers them, in the cgroups under `name` whose path contains `part`. */
export function processesUnder(name: string, part: string): number[] {
  const [first] = hierarchies().filter(({ controllers }) => /pids|unified/.test(controllers));
  if (first === undefined) return [];
  const found: number[] = [];
  const visit = (folder: string): void => {
    if (folder.includes(part)) found.push(...pidsIn(folder));
    for (const child of foldersIn(folder)) visit(join(folder, child));
  };
  visit(join(first.folder, name));
  return found;
}

interface Hierarchy {
  readonly folder: string;
  /** Names separated by commas; `unified` for v2. */
  readonly controllers: string;
}

/** v1's first. Beside them v2 has no controllers, but processes all the same. */
function hierarchies(): Hierarchy[] {
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "));
  const v1 = mounts.filter(([, , type]) => type === "cgroup");
  const v2 = mounts.filter(([, , type]) => type === "cgroup2");
  return [
    ...v1.map(([, folder = "", , options = ""]) => ({ folder, controllers: options })),
    ...v2.map(([, folder = ""]) => ({ folder, controllers: "unified" })),
  ];
}

/** v2: a child has the controllers that its parents pass down. */
function delegate(root: string, own: string): void {
  const all = readFileSync(join(root, "cgroup.controllers"), "utf8").trim().split(" ");
  for (const folder of [root, own])
    for (const controller of all)
      try {
        writeFileSync(join(folder, "cgroup.subtree_control"), `+${controller}`);
      } catch {
        // One that can't be passed down is one that pods do without.
      }
}

function removeTree(folder: string): boolean {
  if (!existsSync(folder)) return true;
  for (const child of foldersIn(folder)) removeTree(join(folder, child));
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return !existsSync(folder);
  }
}

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

function pidsIn(folder: string): number[] {
  try {
    return readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}
