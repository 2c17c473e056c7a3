/** The manifests the lab runs by: a copy of the person's folder, so that a test may change them and the folder stays as it is. */
import { copyFileSync, readdirSync, readFileSync, renameSync, rmSync, statSync, watch, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../core/base/clock.ts";

export class ManifestFolder {
  readonly #target: string;
  #writes = 0;

  /** @param target the lab's own folder. */
  constructor(target: string) {
    this.#target = target;
  }

  /** Puts a manifest in force, whole at once. */
  put(file: string, text: string): void {
    const temporary = join(this.#target, `.${this.#writes++}.tmp`);
    writeFileSync(temporary, text);
    renameSync(temporary, join(this.#target, file));
  }

  remove(file: string): boolean {
    const path = join(this.#target, file);
    const isThere = statSync(path, { throwIfNoEntry: false }) !== undefined;
    rmSync(path, { force: true });
    return isThere;
  }

  /** Takes over every manifest of a folder. @throws where it cannot be read. */
  copyFrom(folder: string): void {
    for (const file of manifestsIn(folder)) copyFileSync(join(folder, file), join(this.#target, file));
  }

  /** Takes over later changes of that folder too: on the kernel's notice, and now and then without one. */
  follow(folder: string, clock: Clock): void {
    let known = new Map(manifestsIn(folder).map((file) => [file, contentOf(folder, file)]));
    const look = (): void => {
      try {
        const now = new Map(manifestsIn(folder).map((file) => [file, contentOf(folder, file)]));
        for (const [file, text] of now) if (text !== undefined && text !== known.get(file)) this.put(file, text);
        for (const file of known.keys()) if (!now.has(file)) this.remove(file);
        known = now;
      } catch {
        // The folder is away, or the lab's is full: what is in force stays.
      }
    };
    const often = (): void => {
      look();
      clock.after(2_000, often);
    };
    try {
      watch(folder, { persistent: false }, () => clock.after(20, look)).on("error", () => undefined);
    } catch {
      // No watch to be had: looking often will do.
    }
    often();
  }
}

/** `name.yaml`, `name.yml` or `name.json`, without a path. */
export function isManifestName(name: string): boolean {
  return /^[\w-][\w.-]*\.(ya?ml|json)$/.test(name);
}

function manifestsIn(folder: string): string[] {
  return readdirSync(folder).filter(isManifestName).sort();
}

function contentOf(folder: string, file: string): string | undefined {
  try {
    return readFileSync(join(folder, file), "utf8");
  } catch {
    return undefined;
  }
}
