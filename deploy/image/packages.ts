/** Which installed packages a set of compiled files can reach: what their imports name, and what those depend on. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative } from "node:path";

export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** Its folder, relative to the folder that holds `node_modules`. */
  readonly folder: string;
}

/**
 * @param root holds `node_modules`.
 * @param names what is imported directly.
 * @param without packages that are left out, with all that only they need.
 */
export function reachable(
  root: string,
  names: readonly string[],
  without: ReadonlySet<string> = new Set(),
): InstalledPackage[] {
  const found = new Map<string, InstalledPackage>();
  const visit = (name: string, from: string, isOptional: boolean): void => {
    if (without.has(name)) return;
    const folder = locate(name, from, root);
    if (folder === undefined) {
      if (isOptional) return;
      throw new Error(`${name}, which ${relative(root, from) || "the program"} needs, is not installed: run npm ci`);
    }
    if (found.has(folder)) return;
    const manifest = readManifest(folder);
    found.set(folder, {
      name,
      version: manifest.version ?? "",
      license: licenseOf(manifest),
      folder: relative(root, folder),
    });
    const optional = { ...manifest.optionalDependencies, ...optionalPeers(manifest) };
    for (const dependency of Object.keys(manifest.dependencies ?? {})) {
      visit(dependency, folder, Object.hasOwn(optional, dependency));
    }
    for (const dependency of Object.keys(optional)) visit(dependency, folder, true);
  };
  for (const name of names) visit(name, root, false);
  return [...found.values()].sort((a, b) => (a.folder < b.folder ? -1 : 1));
}

/** Names of packages that the JavaScript files under `folder` import, statically or not. */
export function importedPackages(folder: string): string[] {
  const names = new Set<string>();
  for (const file of globSync("**/*.js", { cwd: folder })) {
    const text = readFileSync(join(folder, file), "utf8");
    for (const [, specifier = ""] of text.matchAll(importPattern)) {
      if (specifier.startsWith(".") || specifier.startsWith("/") || specifier.startsWith("node:")) continue;
      const name = specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/");
      if (!builtinModules.includes(name)) names.add(name);
    }
  }
  return [...names].sort();
}

interface Manifest {
  readonly version?: string;
  readonly license?: string | { readonly type?: string };
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

/** As Node does: the nearest `node_modules` upwards. */
function locate(name: string, from: string, root: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const candidate = join(folder, "node_modules", name);
    if (existsSync(join(candidate, "package.json"))) return candidate;
    if (folder === root || folder === dirname(folder)) return undefined;
  }
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

function licenseOf({ license }: Manifest): string {
  return typeof license === "string" ? license : (license?.type ?? "");
}

/** Peers are somebody else's to install, so those that are there may be used, and those that are not need not be. */
function optionalPeers(manifest: Manifest): Readonly<Record<string, string>> {
  return manifest.peerDependencies ?? {};
}

/** `import … from "x"`, `export … from "x"`, `import "x"`, `import("x")`, `require("x")`; the name is group 1. */
const importPattern =
  /(?:^(?:import|export)\b[^"';]*\bfrom\s*|^import\s*|\bimport\(\s*|\brequire\(\s*)["']([@a-z][^"'\s]*)["']/gm;
