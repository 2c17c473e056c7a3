/** Where parts stay between runs: outside the checkout, one folder per part and version. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Unavailable } from "../unavailable.ts";

/** `$AMBIENTD_CACHE/cluster`, or `~/.cache/ambientd/cluster`. */
export function cacheFolder(): string {
  const own = process.env["AMBIENTD_CACHE"];
  return join(own !== undefined && own !== "" ? own : join(homedir(), ".cache", "ambientd"), "cluster");
}

/**
 * The folder `name` of the cache; made by `make` in a folder beside it and renamed at the end, so that what is there under its
 * name is whole, whenever and however its maker was interrupted.
 */
export async function cached(
  name: string,
  make: (folder: string) => Promise<Unavailable | undefined>,
): Promise<string | Unavailable> {
  const folder = join(cacheFolder(), name);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.unfinished-${process.pid}`;
  mkdirSync(cacheFolder(), { recursive: true });
  removeAbandoned(name);
  mkdirSync(unfinished);
  try {
    const refusal = await make(unfinished);
    if (refusal !== undefined) return refusal;
    // Someone else may have been as quick: theirs is as good.
    if (!existsSync(folder)) renameSync(unfinished, folder);
    return folder;
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

/** What makers left behind that do not run any more. */
function removeAbandoned(name: string): void {
  for (const entry of readdirSync(cacheFolder())) {
    const [, pid] = entry.startsWith(`${name}.`) ? (/\.unfinished-(\d+)$/.exec(entry) ?? []) : [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(cacheFolder(), entry), { recursive: true, force: true });
  }
}
