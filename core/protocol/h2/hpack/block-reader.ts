/** A header block's integers and texts, one after another. It lives as long as the block: texts are copies. */
import { specimens } from "../../../base/specimens.ts";
import { HpackError } from "./hpack-error.ts";
import { longestDecoded, readHuffman } from "./huffman.ts";
import { integerOverflow, readInteger, type Cursor } from "./integer.ts";

/** Order of calls: while not `done`, look at `next`, then read what it announces. After a failure `fault` says which. */
export class BlockReader implements Cursor {
  readonly bytes: Buffer;
  at = 0;
  /** Octets of the text read last, also where it was too long to be kept. */
  textLength = 0;
  fault: HpackError | undefined;

  constructor(block: Uint8Array) {
    this.bytes = Buffer.isBuffer(block) ? block : Buffer.from(block.buffer, block.byteOffset, block.length);
    specimens.headerBlock = this;
  }

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  /** The octet to be read next; 0 behind the end. */
  get next(): number {
    return this.bytes[this.at] ?? 0;
  }

  /** @returns the integer behind the upper bits of the next octet, or -1 with a fault. */
  integer(prefixBits: number): number {
    const value = readInteger(this, prefixBits);
    if (value >= 0) return value;
    const code = value === integerOverflow ? "hpack.integer-overflow" : "hpack.truncated";
    this.fault = new HpackError({ code });
    return -1;
  }

  /**
   * Reads a text (RFC 7541 5.2) and sets `textLength`.
   * @param longest octets; a longer text is read and checked like any, but comes back as "" and costs no memory.
   * @returns undefined with a fault.
   */
  text(longest: number): string | undefined {
    const huffman = (this.next & 128) !== 0;
    const from = this.#skipText();
    if (from < 0) return undefined;
    if (huffman) return this.#huffman(from, this.at, longest);
    this.textLength = this.at - from;
    return this.textLength <= longest ? this.bytes.toString("latin1", from, this.at) : "";
  }

  /** As {@link text} where nobody is interested in what it says: as many blanks, which all share their memory. */
  blanks(longest: number): string | undefined {
    const huffman = (this.next & 128) !== 0;
    const from = this.#skipText();
    if (from < 0) return undefined;
    if (huffman) return this.#huffman(from, this.at, 0) === undefined ? undefined : blanks(this.textLength, longest);
    this.textLength = this.at - from;
    return blanks(this.textLength, longest);
  }

  /** @returns where the text begins, or -1 with a fault. */
  #skipText(): number {
    const length = this.integer(7);
    if (length < 0) return -1;
    const from = this.at;
    if (from + length > this.bytes.length) {
      this.fault = new HpackError({ code: "hpack.truncated" });
      return -1;
    }
    this.at = from + length;
    return from;
  }

  #huffman(from: number, to: number, longest: number): string | undefined {
    const room = Math.max(0, Math.min(longest, longestDecoded(to - from)));
    const out = room <= scratch.length ? scratch : Buffer.allocUnsafe(room);
    this.textLength = readHuffman(this.bytes, from, to, out, room);
    if (this.textLength >= 0) return this.textLength <= longest ? out.toString("latin1", 0, this.textLength) : "";
    this.fault = new HpackError({ code: "hpack.bad-huffman" });
    return undefined;
  }
}

function blanks(length: number, longest: number): string {
  if (length > longest) return "";
  if (length > mostBlanks) return " ".repeat(length);
  return (madeBlanks[length] ??= " ".repeat(length));
}

/** What a table holds at most. */
const mostBlanks = 4_096;
const madeBlanks: string[] = [];
/** Where texts are decoded before they are copied: nothing of it is held between two calls. */
const scratch = Buffer.alloc(4096);
