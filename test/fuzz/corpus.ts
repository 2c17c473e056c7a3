/**
 * Inputs that are kept: text files of hexadecimal octets. A line that begins with `#` says what it is about, one that begins with `# =>`
 * what comes of it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface CorpusEntry {
  readonly name: string;
  readonly input: Buffer;
  /** What the target returns for it. */
  readonly outcome: string;
}

/** @param target the folder beside this file. */
export function readCorpus(target: string): readonly CorpusEntry[] {
  const folder = join(import.meta.dirname, target);
  return readdirSync(folder)
    .filter((file) => file.endsWith(".hex"))
    .sort()
    .map((file) => {
      const text = readFileSync(join(folder, file), "utf8");
      return { name: file, input: parseHex(text), outcome: /^# =>(.*)$/m.exec(text)?.[1]?.trim() ?? "" };
    });
}

export function parseHex(text: string): Buffer {
  const hex = text.replace(/^#.*$/gm, "").replace(/\s+/g, "");
  if (!/^([0-9a-f]{2})*$/.test(hex)) throw new Error("a corpus file holds pairs of hexadecimal digits");
  return Buffer.from(hex, "hex");
}
