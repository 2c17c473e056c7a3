/** Fields to header blocks (RFC 7541 3). */
import { DynamicTable } from "./dynamic-table.ts";
import { fieldSize, type HeaderField } from "./field.ts";
import { huffmanLength, writeHuffman } from "./huffman.ts";
import { longestInteger, writeInteger } from "./integer.ts";
import { findStatic, staticLength } from "./static-table.ts";

/**
 * One direction of one connection. Every block must be sent, whole and in the order in which they were made: each may change the
 * table that the next is read with.
 */
export class HpackEncoder {
  readonly #table = new DynamicTable(mostTable);
  /** The lowest limit since the last block, where there was a new one: the next block tells it, and the one in force. */
  #lowest: number | undefined;

  /** The peer's SETTINGS_HEADER_TABLE_SIZE, which counts from when we acknowledge it. @param size octets; over 4,096 we use no more. */
  limitTable(size: number): void {
    const limit = Math.min(size, mostTable);
    if (limit === this.#table.limit) return;
    this.#table.resize(limit);
    this.#lowest = Math.min(limit, this.#lowest ?? limit);
  }

  /** @returns a new block. RangeError where a character is no octet: cut down to one, it could end the field and forge another. */
  encode(fields: readonly HeaderField[]): Uint8Array {
    const block = Buffer.allocUnsafe(longestBlock(fields));
    let at = this.#writeTableSize(block);
    try {
      for (const field of fields) at = this.#writeField(block, at, field);
    } catch (thrown) {
      // What was indexed before is never sent: both tables begin again.
      this.#table.clear();
      this.#lowest = 0;
      throw thrown;
    }
    return block.subarray(0, at);
  }

  #writeTableSize(block: Uint8Array): number {
    if (this.#lowest === undefined) return 0;
    const { limit } = this.#table;
    const at = this.#lowest < limit ? writeInteger(block, 0, 0x20, 5, this.#lowest) : 0;
    this.#lowest = undefined;
    return writeInteger(block, at, 0x20, 5, limit);
  }

  #writeField(block: Uint8Array, at: number, field: HeaderField): number {
    const { name, value } = field;
    const handling = handlings.get(name) ?? "index";
    const fixed = findStatic(name, value);
    if (handling === "never") return writeLiteral(block, at, 0x10, 4, Math.abs(fixed), field);
    if (fixed > 0) return writeInteger(block, at, 0x80, 7, fixed);
    if (handling === "once") return writeLiteral(block, at, 0, 4, -fixed, field);
    const age = this.#table.find(name, value);
    if (age >= 0) return writeInteger(block, at, 0x80, 7, staticLength + 1 + age);
    const nameIndex = fixed < 0 ? -fixed : age < -1 ? staticLength - 1 - age : 0;
    // One that takes most of the table would push out all that repeats.
    if (fieldSize(field) > this.#table.limit * mostShare) return writeLiteral(block, at, 0, 4, nameIndex, field);
    const end = writeLiteral(block, at, 0x40, 6, nameIndex, field);
    this.#table.insert(field);
    return end;
  }
}

/** The representations of RFC 7541 6.2, told apart by pattern and prefix; index 0 spells the name out. */
function writeLiteral(
  block: Uint8Array,
  at: number,
  pattern: number,
  prefixBits: number,
  nameIndex: number,
  field: HeaderField,
): number {
  const behind = writeInteger(block, at, pattern, prefixBits, nameIndex);
  return writeText(block, nameIndex === 0 ? writeText(block, behind, field.name) : behind, field.value);
}

function writeText(block: Uint8Array, at: number, text: string): number {
  const short = huffmanLength(text);
  if (short < text.length) return writeHuffman(block, writeInteger(block, at, 0x80, 7, short), text);
  at = writeInteger(block, at, 0, 7, text.length);
  for (let index = 0; index < text.length; index++) block[at++] = text.charCodeAt(index);
  return at;
}

/** Texts are never longer than their octets, and each field has at most three integers. */
function longestBlock(fields: readonly HeaderField[]): number {
  let octets = 2 * longestInteger;
  for (const { name, value } of fields) octets += name.length + value.length + 3 * longestInteger;
  return octets;
}

/** What most implementations keep, and all we keep per connection whatever the peer allows. Octets. */
const mostTable = 4096;
const mostShare = 3 / 4;

/**
 * `once`: values that do not come again; in the table they would push out those that do. A tunnel asks for the same few
 * `:authority`s with the same `baggage` again and again, so these are indexed.
 * `never`: secrets, which nobody on the way may put in a table that others' fields share (RFC 7541 7.1.3).
 */
const handlings: ReadonlyMap<string, "once" | "never"> = new Map([
  ...["forwarded", "traceparent", "tracestate", "x-request-id"].map((name) => [name, "once"] as const),
  ...[":path", "content-length", "etag", "if-modified-since", "if-none-match"].map((name) => [name, "once"] as const),
  ...["authorization", "cookie", "proxy-authorization", "set-cookie"].map((name) => [name, "never"] as const),
]);
