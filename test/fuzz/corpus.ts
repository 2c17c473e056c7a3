/** Inputs that are kept: text files of hexadecimal octets; a line that begins with `#` says what it is about. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface CorpusEntry {
  readonly name: string;
  readonly input: Buffer;
}

/** @param target the folder beside this file. */
export function readCorpus(target: string): readonly CorpusEntry[] {
  const folder = join(import.meta.dirname, target);
  return readdirSync(folder)
    .filter((file) => file.endsWith(".hex"))
    .sort()
    .map((file) => ({ name: file, input: parseHex(readFileSync(join(folder, file), "utf8")) }));
}

export function parseHex(text: string): Buffer {
  const hex = text.replace(/^#.*$/gm, "").replace(/\s+/g, "");
  if (!/^([0-9a-f]{2})*$/.test(hex)) throw new Error("a corpus file holds pairs of hexadecimal digits");
  return Buffer.from(hex, "hex");
}
