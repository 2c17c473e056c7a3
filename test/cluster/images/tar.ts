/** Tar archives (POSIX ustar), as much as an image layer of a few programs needs. */

export type TarEntry =
  | { readonly kind: "file"; readonly path: string; readonly content: Uint8Array; readonly mode: number }
  | { readonly kind: "folder"; readonly path: string; readonly mode: number }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string };

const block = 512;
const types = { file: "0", symlink: "2", folder: "5" } as const;

/** @throws RangeError for a path longer than a header holds (100 bytes). */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const content = entry.kind === "file" ? entry.content : new Uint8Array();
    return [header(entry, content.length), content, Buffer.alloc(padding(content.length))];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

function header(entry: TarEntry, size: number): Buffer {
  const path = entry.kind === "folder" ? `${entry.path}/` : entry.path;
  if (Buffer.byteLength(path) > 100) throw new RangeError(`too long for a tar header: ${path}`);
  const bytes = Buffer.alloc(block);
  const octal = (value: number, at: number, length: number): void => {
    bytes.write(value.toString(8).padStart(length - 1, "0"), at);
  };
  bytes.write(path, 0);
  octal(entry.kind === "symlink" ? 0o777 : entry.mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  bytes.fill(" ", 148, 156);
  bytes.write(types[entry.kind], 156);
  if (entry.kind === "symlink") bytes.write(entry.target, 157);
  bytes.write("ustar\x0000", 257, "latin1");
  // Six digits, NUL, space: the checksum counts its own field as spaces.
  bytes.write(
    `${bytes
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
    "latin1",
  );
  return bytes;
}

function padding(size: number): number {
  return (block - (size % block)) % block;
}
