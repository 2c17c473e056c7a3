/** What the image is built from, as .dockerignore says, and one hash over all of it. */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join, matchesGlob } from "node:path";

/**
 * Files of the build's context, relative to `root`, sorted. Understands the .dockerignore that we write: `*` first, then
 * `!path` for what comes in, then patterns for what stays out of that.
 */
export function contextFiles(root: string): string[] {
  const lines = readFileSync(join(root, ".dockerignore"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (lines[0] !== "*") throw new Error(".dockerignore should start by ignoring everything: *");
  const admitted = lines.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
  const refused = lines.slice(1).filter((line) => !line.startsWith("!"));
  const isRefused = (path: string): boolean => refused.some((pattern) => matchesGlob(path, pattern));
  const found: string[] = [];
  const visit = (path: string): void => {
    if (isRefused(path)) return;
    if (!statSync(join(root, path)).isDirectory()) return void found.push(path);
    for (const name of readdirSync(join(root, path))) visit(`${path}/${name}`);
  };
  for (const pattern of admitted) for (const path of expand(root, pattern)) visit(path);
  return [...new Set(found)].sort();
}

/** Hexadecimal; the same for the same contents, whatever their times. */
export function contextHash(root: string, more: readonly string[] = []): string {
  const hash = createHash("sha256");
  for (const path of [...contextFiles(root), ...more]) {
    hash.update(`${path}\0`).update(
      createHash("sha256")
        .update(readFileSync(join(root, path)))
        .digest(),
    );
  }
  return hash.digest("hex");
}

/** A path, or `folder/*.ts`. What isn't there is nothing. */
function expand(root: string, pattern: string): string[] {
  const [, folder = ".", last = ""] = /^(?:(.*)\/)?([^/]*)$/.exec(pattern) ?? [];
  let names: string[];
  try {
    names = readdirSync(join(root, folder));
  } catch {
    return [];
  }
  return names.filter((name) => matchesGlob(name, last)).map((name) => (folder === "." ? name : `${folder}/${name}`));
}
