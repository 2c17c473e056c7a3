/** The plugin's executable on the node: replaced as a whole, for a runtime may start it at any moment. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { pluginType } from "./conf-file.ts";
import type { Disk } from "./disk.ts";

export interface ExecutableOptions {
  readonly disk: Disk;
  /** Where runtimes look for plugins. */
  readonly binDir: string;
  /** The executable that comes with us. */
  readonly source: string;
  /** Distinguishes unfinished copies of several installers. */
  readonly token: string;
}

export class Executable {
  readonly #options: ExecutableOptions;
  /** Of what is known to be right; anything else at the path is replaced. */
  #rightId?: string;

  constructor(options: ExecutableOptions) {
    this.#options = options;
  }

  /** Whether anything had to be done. */
  async ensure(): Promise<boolean> {
    const { disk, binDir, source, token } = this.#options;
    const path = join(binDir, pluginType);
    const found = await disk.stamp(path);
    if (found !== undefined && found.id === this.#rightId && (found.mode & 0o111) !== 0) return false;
    const wanted = await disk.stamp(source);
    if (wanted === undefined) throw Object.assign(new Error(`${source} is missing`), { code: "ENOENT", path: source });
    const same =
      found?.size === wanted.size && found.mode === wanted.mode && (await digest(path)) === (await digest(source));
    if (!same) {
      await disk.makeDirectory(binDir);
      const unfinished = `${path}.tmp.${token}`;
      await disk.remove(unfinished);
      try {
        await disk.copyNew(source, unfinished, wanted.mode);
        await disk.rename(unfinished, path);
      } catch (thrown) {
        await disk.remove(unfinished).catch(() => undefined);
        throw thrown;
      }
      await disk.syncDirectory(binDir);
    }
    const now = await disk.stamp(path);
    if (now !== undefined) this.#rightId = now.id;
    return !same;
  }

  async remove(): Promise<void> {
    const { disk, binDir } = this.#options;
    await disk.remove(join(binDir, pluginType));
    await this.removeUnfinished();
  }

  /** What an installer left that ended in the middle of a copy. */
  async removeUnfinished(): Promise<void> {
    const { disk, binDir } = this.#options;
    const stale = (await disk.names(binDir)).filter((name) => name.startsWith(`${pluginType}.tmp.`));
    for (const name of stale) await disk.remove(join(binDir, name));
  }
}

async function digest(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
