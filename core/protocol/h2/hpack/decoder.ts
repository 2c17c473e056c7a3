/** Header blocks of a peer to fields (RFC 7541 3). */
import { BlockReader } from "./block-reader.ts";
import { DynamicTable } from "./dynamic-table.ts";
import { fieldOverhead, fieldSize, type HeaderField } from "./field.ts";
import { HpackError, type TableSizeFault } from "./hpack-error.ts";
import { staticField, staticLength } from "./static-table.ts";

export interface HpackLimits {
  /** Octets: SETTINGS_HEADER_TABLE_SIZE as we announce it. */
  readonly tableSize: number;
  /** Octets of a whole list: name, value and 32 for each field (RFC 9113 6.5.2). */
  readonly listSize: number;
}

export interface DecodedBlock {
  /** In the order of the block; the first that went over the limit is missing, and all behind it. */
  readonly fields: readonly HeaderField[];
  /** Octets of the whole list, what is missing among them. */
  readonly size: number;
  readonly tooLarge: boolean;
}

/**
 * One direction of one connection. Give it every block once, whole and in the order of arrival, also of streams that are long gone:
 * each may change the table that the next is read with. It keeps no reference to a block. After an error it answers with that
 * error for ever.
 */
export class HpackDecoder {
  readonly #isWanted: ((name: string) => boolean) | undefined;
  readonly #listSize: number;
  readonly #table = new DynamicTable(defaultTableSize);
  #tableLimit: number;
  /** The lowest limit since the last block, where the table was over it: the next block begins with an update to no more. */
  #owed: number | undefined;
  #failure: HpackError | undefined;

  /**
   * A `tableSize` under 4,096 counts from `limitTable` on: the peer may not have heard of it before (RFC 9113 6.5.3).
   * @param isWanted which fields are of interest: of others that are spelled out only names and lengths are right. Default: all.
   */
  constructor(limits: HpackLimits, isWanted?: (name: string) => boolean) {
    this.#isWanted = isWanted;
    this.#listSize = limits.listSize;
    this.#tableLimit = Math.max(limits.tableSize, defaultTableSize);
  }

  /** What its table holds: octets as RFC 7541 4.1 counts them, and entries. */
  get table(): { readonly size: number; readonly length: number } {
    return this.#table;
  }

  /** To be called when the peer has acknowledged our SETTINGS_HEADER_TABLE_SIZE. @param size octets. */
  limitTable(size: number): void {
    this.#tableLimit = size;
    if (size < this.#table.limit) this.#owed = Math.min(size, this.#owed ?? size);
  }

  /**
   * A list over the limit is read to its end all the same, because the table must stay in step with the peer's; what is over
   * costs no memory.
   */
  decode(block: Uint8Array): DecodedBlock | HpackError {
    if (this.#failure !== undefined) return this.#failure;
    const reader = new BlockReader(block);
    const result = this.#updateTable(reader) ?? this.#readFields(reader);
    if (result instanceof HpackError) this.#failure = result;
    return result;
  }

  /** Dynamic table size updates, which only the beginning of a block may hold (RFC 7541 4.2). */
  #updateTable(reader: BlockReader): HpackError | undefined {
    while (!reader.done && (reader.next & 0xe0) === 0x20) {
      const size = reader.integer(5);
      if (size < 0) return reader.fault;
      if (size > (this.#owed ?? this.#tableLimit)) return this.#badTableSize("above-limit");
      this.#owed = undefined;
      this.#table.resize(size);
    }
    return this.#owed === undefined ? undefined : this.#badTableSize("missing");
  }

  #readFields(reader: BlockReader): DecodedBlock | HpackError {
    const fields: HeaderField[] = [];
    let size = 0;
    while (!reader.done) {
      const first = reader.next;
      if (first >= 0x80) {
        const index = reader.integer(7);
        const field = this.#field(index);
        if (field === undefined) return reader.fault ?? new HpackError({ code: "hpack.bad-index", index });
        size += fieldSize(field);
        // The table's own object: a thousand references to an entry are a thousand pointers.
        if (size <= this.#listSize) fields.push(field);
        continue;
      }
      if ((first & 0xe0) === 0x20) return this.#badTableSize("behind-a-field");
      const added = this.#readLiteral(reader, (first & 0x40) !== 0, this.#listSize - size, fields);
      if (added < 0) return reader.fault ?? new HpackError({ code: "hpack.truncated" });
      size += added;
    }
    return { fields, size, tooLarge: size > this.#listSize };
  }

  /**
   * A field that is spelled out (RFC 7541 6.2).
   * @param room octets that the list still has; less than none where it is over its limit.
   * @returns the field's octets, or -1 with a fault.
   */
  #readLiteral(reader: BlockReader, indexed: boolean, room: number, fields: HeaderField[]): number {
    const index = reader.integer(indexed ? 6 : 4);
    if (index < 0) return -1;
    const longest = Math.max(room, indexed ? this.#table.limit : 0) - fieldOverhead;
    const name = index === 0 ? reader.text(longest) : this.#field(index)?.name;
    if (name === undefined) {
      reader.fault ??= new HpackError({ code: "hpack.bad-index", index });
      return -1;
    }
    const nameLength = index === 0 ? reader.textLength : name.length;
    const isWanted = this.#isWanted === undefined || this.#isWanted(name);
    const value = isWanted ? reader.text(longest - nameLength) : reader.blanks(longest - nameLength);
    if (value === undefined) return -1;
    const size = nameLength + reader.textLength + fieldOverhead;
    if (size > longest + fieldOverhead) {
      if (indexed) this.#table.clear();
      return size;
    }
    const field: HeaderField = { name, value };
    if (indexed) this.#table.insert(field);
    if (size <= room) fields.push(field);
    return size;
  }

  #field(index: number): HeaderField | undefined {
    return index <= staticLength ? staticField(index) : this.#table.at(index - staticLength - 1);
  }

  #badTableSize(fault: TableSizeFault): HpackError {
    return new HpackError({ code: "hpack.bad-table-size", fault, limit: this.#owed ?? this.#tableLimit });
  }
}

/** What holds until settings say otherwise (RFC 9113 6.5.2). */
const defaultTableSize = 4096;
