/**
 * Lays out the root of the image: Node, the compiled programs, the packages they import, the CNI plugin.
 *
 *     node deploy/image/assemble.ts --dist DIR --modules DIR --plugin FILE --out DIR
 */
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { parseArgs } from "node:util";
import { importedPackages, reachable, type InstalledPackage } from "./packages.ts";

/** @property modules the `node_modules` of a full install. */
export interface Parts {
  readonly dist: string;
  readonly modules: string;
  readonly plugin: string;
  readonly out: string;
}

/** Answers with the packages that went in. */
export function assemble({ dist, modules, plugin, out }: Parts): InstalledPackage[] {
  const root = dirname(resolve(modules));
  const home = join(out, "opt/ambientd");
  rmSync(out, { recursive: true, force: true });
  for (const room of rooms) copyCompiled(join(dist, room), join(home, room));
  const packages = reachable(root, importedPackages(home), leftOut);
  for (const { folder } of packages) copyPackage(join(root, folder), join(home, folder));
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { name: string; version: string };
  const { name, version } = manifest;
  writeFileSync(join(home, "package.json"), `${JSON.stringify({ name, version, type: "module" }, null, 2)}\n`);
  writeFileSync(join(home, "packages.json"), `${JSON.stringify(packages, null, 2)}\n`);
  cpSync(join(root, "LICENSE"), join(home, "LICENSE"));
  const node = join(out, "usr/local/bin/node");
  install(nodeOf(modules), node);
  // A sixth smaller without symbols; a machine without binutils makes the larger one.
  spawnSync("strip", ["--strip-all", node], { stdio: "ignore" });
  install(plugin, join(out, "opt/cni/bin/ambient-cni"));
  return packages;
}

/** Compiled JavaScript, without what only a debugger reads. */
function copyCompiled(from: string, to: string): void {
  if (!existsSync(from)) return;
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith(".map") && basename(path) !== "test-support" });
}

/** Of a package, what Node loads and its licence. Nested packages come by themselves. */
function copyPackage(from: string, to: string): void {
  cpSync(from, to, {
    recursive: true,
    filter: (path) => {
      const parts = path === from ? [] : relative(from, path).split(sep);
      if (parts.some((part) => part.startsWith(".") || foldersNotRun.has(part) || isForeign(part))) return false;
      return statSync(path).isDirectory() || loaded.test(path) || licence.test(basename(path));
    },
  });
}

/** `musl_x64`, `linux-arm64`, `darwin_arm64`: prebuilt for another kernel, processor or C library. */
function isForeign(part: string): boolean {
  const [, system, processor] =
    /^(linux|musl|darwin|win32|freebsd|openbsd|android|wasm32)[-_](\w+?)(?:[-_.].*)?$/.exec(part) ?? [];
  return system !== undefined && (system !== "linux" || processor !== process.arch);
}

function nodeOf(modules: string): string {
  return join(modules, `node-linux-${process.arch}`, "bin/node");
}

function install(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
  chmodSync(to, 0o755);
}

/** Folders of dist/ that run in a cluster. */
const rooms = ["bin", "agent", "cni", "control", "core"] as const;
/** Reads kubeconfig files, which no pod has; a quarter of all that would be shipped. */
const leftOut: ReadonlySet<string> = new Set(["@kubernetes/client-node", "@types/node"]);
const loaded = /\.(?:[cm]?js|json|node|proto)$/;
const licence = /^(?:licen[cs]e|copying|notice|copyright)/i;
const foldersNotRun: ReadonlySet<string> = new Set(["node_modules", "test", "tests", "docs", "examples", "benchmarks"]);

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      dist: { type: "string" },
      modules: { type: "string" },
      plugin: { type: "string" },
      out: { type: "string" },
    },
  });
  const { dist = "", modules = "", plugin = "", out = "" } = values;
  const packages = assemble({ dist, modules, plugin, out });
  process.stdout.write(`${packages.map(({ name, version, license }) => `${name} ${version} ${license}`).join("\n")}\n`);
}
