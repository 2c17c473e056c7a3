/** Where parts stay between runs: outside the checkout, one folder per part and version. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Unavailable } from "../unavailable.ts";

/** `$AMBIENTD_CACHE/cluster`, or `~/.cache/ambientd/cluster`. @param room what the parts are for. */
export function cacheFolder(room = "cluster"): string {
  const own = process.env["AMBIENTD_CACHE"];
  return join(own !== undefined && own !== "" ? own : join(homedir(), ".cache", "ambientd"), room);
}

/**
 * The folder `name` of the cache; made by `make` in a folder beside it and renamed at the end, so that what is there under its
 * name is whole, whenever and however its maker was interrupted.
 */
export async function cached(
  name: string,
  make: (folder: string) => Promise<Unavailable | undefined>,
  room?: string,
): Promise<string | Unavailable> {
  const folder = join(cacheFolder(room), name);
  if (existsSync(folder)) return folder;
  const unfinished = `${folder}.unfinished-${process.pid}`;
  mkdirSync(cacheFolder(room), { recursive: true });
  removeAbandoned(name, room);
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
function removeAbandoned(name: string, room?: string): void {
  for (const entry of readdirSync(cacheFolder(room))) {
    const [, pid] = entry.startsWith(`${name}.`) ? (/\.unfinished-(\d+)$/.exec(entry) ?? []) : [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(cacheFolder(room), entry), { recursive: true, force: true });
  }
}
