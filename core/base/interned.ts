/**
 * Values by the octets they were read from, so that what a push says fifty thousand times is decoded once and held once. A table of
 * one size: what has not been seen for a while makes room, and is then merely decoded and held again.
 */

interface Entry<T> {
  readonly hash: number;
  /** The octets, one character each. */
  readonly key: string;
  readonly value: T;
}

export class Interned<T> {
  readonly #entries: (Entry<T> | undefined)[];
  readonly #groups: number;
  readonly #make: (octets: Buffer, start: number, end: number) => T;
  #next = 0;
  #hash = 0;

  /**
   * @param size how many values are remembered, a power of two of at least four.
   * @param make what octets `start` to `end` mean. The same for the same octets, and never changed afterwards.
   */
  constructor(size: number, make: (octets: Buffer, start: number, end: number) => T) {
    this.#entries = new Array<Entry<T> | undefined>(size).fill(undefined);
    this.#groups = size / ways - 1;
    this.#make = make;
  }

  /** Of the octets that were asked for last: equal for equal octets. */
  get hash(): number {
    return this.#hash;
  }

  /** @throws what `make` throws. */
  of(octets: Buffer, start: number, end: number): T {
    const hash = hashOf(octets, start, end);
    this.#hash = hash;
    const first = ((Math.imul(hash, goldenRatio) >>> 16) & this.#groups) * ways;
    let free: number | undefined;
    for (let at = first; at < first + ways; at++) {
      const entry = this.#entries[at];
      if (entry === undefined) free ??= at;
      else if (entry.hash === hash && isSame(entry.key, octets, start, end)) return entry.value;
    }
    const value = this.#make(octets, start, end);
    if (free === undefined) this.#next = (this.#next + 1) % ways;
    this.#entries[free ?? first + this.#next] = { hash, key: octets.toString("latin1", start, end), value };
    return value;
  }
}

/** In the manner of FNV-1a, 32 bits, four octets at a time: each multiplication waits for the one before. */
function hashOf(octets: Buffer, start: number, end: number): number {
  let hash = 0x811c9dc5 | 0;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    const four =
      (octets[at] ?? 0) | ((octets[at + 1] ?? 0) << 8) | ((octets[at + 2] ?? 0) << 16) | ((octets[at + 3] ?? 0) << 24);
    hash = Math.imul(hash ^ four, prime);
    hash ^= hash >>> 15;
  }
  for (; at < end; at++) hash = Math.imul(hash ^ (octets[at] ?? 0), prime);
  return hash;
}

function isSame(key: string, octets: Buffer, start: number, end: number): boolean {
  if (key.length !== end - start) return false;
  for (let at = 0; at < key.length; at++) if (key.charCodeAt(at) !== octets[start + at]) return false;
  return true;
}

const ways = 4;
const prime = 0x01000193;
const goldenRatio = 0x9e3779b1;
