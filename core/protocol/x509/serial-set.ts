/**
 * A set of serial numbers that lies in shared memory: the revocation list itself, and a hash table of where in it each number is. All
 * threads read the same octets; a list of ten megabytes is there once.
 */

/** Plain data: crosses between threads. */
export interface SerialSet {
  /** Where the numbers are: octets of a list, on shared memory. */
  readonly octets: Uint8Array;
  /** A power of two of slots on shared memory, each 0 or where a number begins; the octet before it is its length. */
  readonly slots: Uint32Array;
  readonly size: number;
}

/** Longest serial number in octets: RFC 5280 allows 20, and its length must be one octet. */
export const longestSerial = 64;

/** @param octets on shared memory. @param count of numbers that are to come. */
export function emptySerialSet(octets: Uint8Array, count: number): SerialSet {
  let slots = 16;
  while (slots < count * 2) slots *= 2;
  return { octets, slots: new Uint32Array(new SharedArrayBuffer(slots * 4)), size: count };
}

/** @param start of the number's content in the set's octets; the octet before it is its length. */
export function addSerial(set: SerialSet, start: number, end: number): void {
  const { octets, slots } = set;
  const mask = slots.length - 1;
  let at = hash(octets, start, end) & mask;
  while (slots[at] !== 0) at = (at + 1) & mask;
  slots[at] = start;
}

/** @param serial content of the INTEGER, as DER has it. */
export function hasSerial({ octets, slots }: SerialSet, serial: Uint8Array): boolean {
  const mask = slots.length - 1;
  for (let at = hash(serial, 0, serial.length) & mask; ; at = (at + 1) & mask) {
    const start = slots[at] ?? 0;
    if (start === 0) return false;
    if (octets[start - 1] === serial.length && isAt(octets, start, serial)) return true;
  }
}

function isAt(octets: Uint8Array, start: number, serial: Uint8Array): boolean {
  for (let i = 0; i < serial.length; i++) if (octets[start + i] !== serial[i]) return false;
  return true;
}

/** FNV-1a (draft-eastlake-fnv), then mixed: a mask takes the low bits only. */
function hash(octets: Uint8Array, start: number, end: number): number {
  let value = 0x811c9dc5;
  for (let at = start; at < end; at++) value = Math.imul(value ^ (octets[at] ?? 0), 0x01000193);
  return (value ^ (value >>> 15)) >>> 0;
}
