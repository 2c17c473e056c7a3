/** The part of HPACK's table that both ends build as they go: newest first, oldest evicted (RFC 7541 2.3.2 and 4). */
import { fieldSize, type HeaderField } from "./field.ts";

/** A ring of fields whose sizes sum up to at most `limit` octets. Empty, it holds no memory. */
export class DynamicTable {
  #limit: number;
  #size = 0;
  /** Slots, a power of two; entry `n` of all that ever were lies in slot `n` modulo their number. */
  #ring: (HeaderField | undefined)[] = [];
  #oldest = 0;
  #next = 0;

  /** @param limit octets. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Octets that the entries may count for. */
  get limit(): number {
    return this.#limit;
  }

  /** Octets that they do count for. */
  get size(): number {
    return this.#size;
  }

  get length(): number {
    return this.#next - this.#oldest;
  }

  /** The entry that `age` newer ones lie before. */
  at(age: number): HeaderField | undefined {
    return age < this.length ? this.#ring[this.#slot(this.#next - 1 - age)] : undefined;
  }

  /** How many newer ones lie before an entry like this; where only the name is there, -2 minus that; else -1. */
  find(name: string, value: string): number {
    let named = -1;
    for (let age = 0; age < this.length; age++) {
      const field = this.at(age);
      if (field?.name !== name) continue;
      if (field.value === value) return age;
      if (named === -1) named = -2 - age;
    }
    return named;
  }

  /** Makes room and inserts; a field larger than the whole table leaves it empty (RFC 7541 4.4). */
  insert(field: HeaderField): void {
    const size = fieldSize(field);
    this.#shrinkTo(this.#limit - size);
    if (size > this.#limit) return;
    if (this.length === this.#ring.length) this.#grow();
    this.#ring[this.#slot(this.#next++)] = field;
    this.#size += size;
  }

  clear(): void {
    this.#ring = [];
    this.#size = 0;
    this.#oldest = this.#next;
  }

  /** @param limit octets; entries that no longer fit are evicted. */
  resize(limit: number): void {
    this.#limit = limit;
    this.#shrinkTo(limit);
  }

  #shrinkTo(most: number): void {
    while (this.#size > most && this.#oldest < this.#next) {
      const slot = this.#slot(this.#oldest++);
      const evicted = this.#ring[slot];
      if (evicted !== undefined) this.#size -= fieldSize(evicted);
      this.#ring[slot] = undefined;
    }
    if (this.#size === 0) this.clear();
  }

  #grow(): void {
    const kept = this.length;
    const ring: (HeaderField | undefined)[] = [];
    for (let age = kept - 1; age >= 0; age--) ring.push(this.at(age));
    for (let slots = Math.max(kept, fewestSlots); slots > 0; slots--) ring.push(undefined);
    this.#ring = ring;
    this.#oldest = 0;
    this.#next = kept;
  }

  #slot(entry: number): number {
    return entry & (this.#ring.length - 1);
  }
}

const fewestSlots = 8;
