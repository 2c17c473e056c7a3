/** Which release this program is: what its package says. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The folder this program was installed to: where package.json and deploy/chart lie, whether run from source or compiled. */
export const packageFolder: string = folderAbove(import.meta.dirname);

export const clientVersion: string = versionOf(packageFolder);

function folderAbove(folder: string): string {
  let at = folder;
  while (!existsSync(join(at, "package.json"))) {
    const parent = dirname(at);
    if (parent === at) return folder;
    at = parent;
  }
  return at;
}

function versionOf(folder: string): string {
  try {
    const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version?: unknown };
    return typeof version === "string" ? version : "unknown";
  } catch {
    return "unknown";
  }
}
