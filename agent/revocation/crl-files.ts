/** How the file of revocation lists is looked at and read; tests bring their own. */
import { watch } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { messageOf } from "../../core/base/errors.ts";

export interface CrlFiles {
  /** Differs when the file does; undefined while there is none. Never rejects. */
  stamp(path: string): Promise<string | undefined>;
  /** Never rejects. */
  read(path: string): Promise<CrlBytes>;
  /** Calls `changed` when anything in the folder changes, as far as the system tells. @returns ends that. */
  watch(directory: string, changed: () => void): () => void;
}

export type CrlBytes =
  { readonly bytes: Uint8Array } | { readonly failed: "missing" | "unreadable" | "malformed"; readonly detail: string };

export const systemCrlFiles: CrlFiles = {
  async stamp(path) {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
    } catch {
      return undefined;
    }
  },

  async read(path) {
    try {
      const status = await stat(path);
      if (!status.isFile()) return { failed: "unreadable", detail: "no file" };
      if (status.size > largestFile) return { failed: "malformed", detail: `${status.size} bytes are too many` };
      return { bytes: await readFile(path) };
    } catch (thrown) {
      const isMissing = (thrown as NodeJS.ErrnoException).code === "ENOENT";
      return { failed: isMissing ? "missing" : "unreadable", detail: messageOf(thrown) };
    }
  },

  watch(directory, changed) {
    try {
      const watcher = watch(directory, { persistent: false }, changed);
      // A folder that goes away: the file is looked at from time to time in any case.
      watcher.on("error", () => watcher.close());
      return () => watcher.close();
    } catch {
      return () => {};
    }
  },
};

/** As core/protocol/x509/crl.ts: nothing that is larger is read into memory at all. */
const largestFile = 32 << 20;
