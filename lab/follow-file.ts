/** Reading a file as it grows. */
import { closeSync, openSync, readSync, statSync, watch } from "node:fs";

/**
 * Calls back with what the file holds from a byte offset on, and with what is added later; begins anew when it is cut short.
 * Returns the way out.
 */
export function followFile(path: string, from: number, onBytes: (bytes: Buffer) => void): () => void {
  const fd = openSync(path, "r");
  let offset = from;
  const read = (): void => {
    if (statSync(path).size < offset) offset = 0;
    for (;;) {
      const buffer = Buffer.alloc(65_536);
      const length = readSync(fd, buffer, 0, buffer.length, offset);
      if (length === 0) return;
      offset += length;
      onBytes(buffer.subarray(0, length));
    }
  };
  const watcher = watch(path, read);
  read();
  return () => {
    watcher.close();
    closeSync(fd);
  };
}
