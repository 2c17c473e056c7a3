/** HPACK integers: what fits behind a few pattern bits, or seven bits an octet, least significant first (RFC 7541 5.1). */

/** Where reading stands; `at` moves behind what was read. */
export interface Cursor {
  readonly bytes: Uint8Array;
  at: number;
}

/** Integers that we refuse to take for lengths, sizes or indices: nothing legitimate comes near. */
const integerLimit = 2 ** 31;
/** The most octets that `writeInteger` uses for what is below the limit. */
export const longestInteger = 6;
/** Instead of a value: the bytes end inside the integer. */
export const integerTruncated = -1;
/** Instead of a value: at or over the limit, or padded with more octets than a number below it needs. */
export const integerOverflow = -2;

/**
 * Reads an integer whose first octet, at the cursor, keeps its upper `8 - prefixBits` bits for something else.
 * @returns the value below 2^31, `integerTruncated` or `integerOverflow`.
 */
export function readInteger(cursor: Cursor, prefixBits: number): number {
  const { bytes } = cursor;
  const first = bytes[cursor.at];
  if (first === undefined) return integerTruncated;
  cursor.at++;
  const full = (1 << prefixBits) - 1;
  let value = first & full;
  if (value < full) return value;
  for (let scale = 1; scale <= lastScale; scale *= 128) {
    const octet = bytes[cursor.at];
    if (octet === undefined) return integerTruncated;
    cursor.at++;
    value += (octet & 127) * scale;
    if (octet < 128) return value < integerLimit ? value : integerOverflow;
  }
  return integerOverflow;
}

/**
 * Writes an integer below 2^31 at `at`, its first octet beginning with the bits of `pattern`.
 * @returns the offset behind it.
 */
export function writeInteger(out: Uint8Array, at: number, pattern: number, prefixBits: number, value: number): number {
  const full = (1 << prefixBits) - 1;
  if (value < full) {
    out[at] = pattern | value;
    return at + 1;
  }
  out[at++] = pattern | full;
  let rest = value - full;
  for (; rest >= 128; rest >>>= 7) out[at++] = (rest & 127) | 128;
  out[at++] = rest;
  return at;
}

/** Five octets behind the prefix hold 35 bits; a sixth could only be padding. */
const lastScale = 128 ** 4;
