/** HPACK read slowly and plainly (RFC 7541): bits as text, tables as arrays. What the decoder says is held against it. */
import type { HeaderField } from "../../core/protocol/h2/hpack/field.ts";
import { lengths } from "../../core/protocol/h2/hpack/huffman.ts";
import { staticField } from "../../core/protocol/h2/hpack/static-table.ts";

export type NaiveAnswer =
  | { readonly fields: readonly HeaderField[]; readonly size: number; readonly tooLarge: boolean }
  | { readonly code: string };

export class NaiveDecoder {
  readonly #listSize: number;
  #entries: HeaderField[] = [];
  #size = 4096;
  #limit: number;
  #owed: number[] = [];
  #failure: NaiveAnswer | undefined;

  constructor(limits: { readonly tableSize: number; readonly listSize: number }) {
    this.#listSize = limits.listSize;
    this.#limit = Math.max(4096, limits.tableSize);
  }

  limitTable(size: number): void {
    this.#limit = size;
    if (size < this.#size) this.#owed.push(size);
  }

  decode(block: Uint8Array): NaiveAnswer {
    if (this.#failure !== undefined) return this.#failure;
    try {
      return this.#read([...block]);
    } catch (thrown) {
      if (!(thrown instanceof Broken)) throw thrown;
      return (this.#failure = { code: `hpack.${thrown.message}` });
    }
  }

  #read(rest: number[]): NaiveAnswer {
    while (rest.length > 0 && rest[0]! >> 5 === 1) {
      const size = integer(rest, 5);
      if (size > Math.min(this.#limit, ...this.#owed)) throw new Broken("bad-table-size");
      this.#owed = [];
      this.#size = size;
      this.#evict();
    }
    if (this.#owed.length > 0) throw new Broken("bad-table-size");
    const all: HeaderField[] = [];
    while (rest.length > 0) all.push(this.#field(rest));
    const sizes = all.map(sizeOf);
    const size = sum(sizes);
    const fields = all.filter((_, index) => sum(sizes.slice(0, index + 1)) <= this.#listSize);
    return { fields, size, tooLarge: size > this.#listSize };
  }

  #field(rest: number[]): HeaderField {
    const first = rest[0]!;
    if (first >= 128) return this.#at(integer(rest, 7));
    if (first >> 5 === 1) throw new Broken("bad-table-size");
    const index = integer(rest, first >= 64 ? 6 : 4);
    const name = index === 0 ? text(rest) : this.#at(index).name;
    const field = { name, value: text(rest) };
    if (first >= 64) {
      this.#entries.unshift(field);
      this.#evict();
    }
    return field;
  }

  #at(index: number): HeaderField {
    const field = staticField(index) ?? this.#entries[index - 62];
    if (field === undefined) throw new Broken("bad-index");
    return field;
  }

  #evict(): void {
    while (sum(this.#entries.map(sizeOf)) > this.#size) this.#entries.pop();
  }
}

class Broken extends Error {}

function integer(rest: number[], prefixBits: number): number {
  const first = rest.shift();
  if (first === undefined) throw new Broken("truncated");
  const full = 2 ** prefixBits - 1;
  let value = first % (full + 1);
  if (value < full) return value;
  for (let octets = 0; octets < 5; octets++) {
    const octet = rest.shift();
    if (octet === undefined) throw new Broken("truncated");
    value += (octet % 128) * 128 ** octets;
    if (octet >= 128) continue;
    if (value >= 2 ** 31) throw new Broken("integer-overflow");
    return value;
  }
  throw new Broken("integer-overflow");
}

function text(rest: number[]): string {
  const huffman = (rest[0] ?? 0) >= 128;
  const length = integer(rest, 7);
  if (length > rest.length) throw new Broken("truncated");
  const octets = rest.splice(0, length);
  if (!huffman) return String.fromCharCode(...octets);
  let decoded = "";
  let bits = "";
  for (const bit of octets.map((octet) => octet.toString(2).padStart(8, "0")).join("")) {
    bits += bit;
    const octet = symbols.get(bits);
    if (octet === 256) throw new Broken("bad-huffman");
    if (octet === undefined) continue;
    decoded += String.fromCharCode(octet);
    bits = "";
  }
  if (bits.length > 7 || bits.includes("0")) throw new Broken("bad-huffman");
  return decoded;
}

function canonicalCode(): Map<string, number> {
  const inOrder = [...lengths, 30].map((length, symbol) => ({ length, symbol })).sort((a, b) => a.length - b.length);
  const found = new Map<string, number>();
  let code = 0;
  let before = 0;
  for (const { length, symbol } of inOrder) {
    code *= 2 ** (length - before);
    found.set(code.toString(2).padStart(length, "0"), symbol);
    code++;
    before = length;
  }
  return found;
}

function sizeOf({ name, value }: HeaderField): number {
  return name.length + value.length + 32;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

const symbols = canonicalCode();
