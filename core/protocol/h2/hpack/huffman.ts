/**
 * HPACK's Huffman code (RFC 7541 5.2, appendix B). The code is canonical: the lengths say it all, and both tables are made of them
 * when the module loads. Decoding is a state machine that takes four bits a step: no symbol is shorter than five, so a step
 * completes at most one.
 */

/** Octets of a text in this code; RangeError for a character that is no octet: sending half of it could forge a field. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let at = 0; at < text.length; at++) {
    const octet = text.charCodeAt(at);
    if (octet > 255) throw new RangeError(`a header field holds octets, not U+${octet.toString(16)}`);
    bits += lengths[octet] ?? 0;
  }
  return (bits + 7) >>> 3;
}

/** Writes a text that `huffmanLength` has measured. @returns the offset behind it. */
export function writeHuffman(out: Uint8Array, at: number, text: string): number {
  let pending = 0; // fewer than eight bits, on the right
  let count = 0;
  for (let index = 0; index < text.length; index++) {
    const octet = text.charCodeAt(index);
    let code = codes[octet] ?? 0;
    let length = lengths[octet] ?? 0;
    // 30 bits and 7 that wait are more than a word holds.
    if (length > 16) {
      length -= 16;
      pending = (pending << length) | (code >>> 16);
      for (count += length; count >= 8;) out[at++] = pending >>> (count -= 8);
      code &= 0xffff;
      length = 16;
    }
    pending = (pending << length) | code;
    for (count += length; count >= 8;) out[at++] = pending >>> (count -= 8);
  }
  // The rest of the last octet is the beginning of EOS: ones.
  if (count > 0) out[at++] = (pending << (8 - count)) | (0xff >>> count);
  return at;
}

/**
 * Decodes `bytes[from, to)` into `out`, as far as its first `room` octets; what comes behind is read, checked and counted only.
 * @returns how many octets the text has, or -1 where the code is not followed.
 */
export function readHuffman(bytes: Uint8Array, from: number, to: number, out: Uint8Array, room: number): number {
  let state = 0;
  let length = 0;
  for (let at = from; at < to; at++) {
    const octet = bytes[at] ?? 0;
    const upper = steps[state | (octet >>> 4)] ?? failing;
    if (upper & emitting) {
      if (length < room) out[length] = upper;
      length++;
    }
    const lower = steps[((upper >>> stateShift) & stateMask) | (octet & 15)] ?? failing;
    if (lower & emitting) {
      if (length < room) out[length] = lower;
      length++;
    }
    if ((upper | lower) & failing) return -1;
    state = (lower >>> stateShift) & stateMask;
  }
  return accepting[state >>> 4] === 1 ? length : -1;
}

/** The most octets that so many in this code decode to: none has fewer than five bits. */
export function longestDecoded(encoded: number): number {
  return Math.floor((encoded * 8) / 5);
}

/** Canonical: shorter codes first, and within a length in the order of the symbols, each the one before plus one. */
function assignCodes(): Uint32Array {
  const symbols = Array.from({ length: symbolCount }, (_, symbol) => symbol);
  symbols.sort((a, b) => lengthOf(a) - lengthOf(b) || a - b);
  const assigned = new Uint32Array(symbolCount);
  let code = 0;
  let length = 0;
  for (const symbol of symbols) {
    code <<= lengthOf(symbol) - length;
    length = lengthOf(symbol);
    assigned[symbol] = code++;
  }
  return assigned;
}

/** The code as a binary tree: two numbers per inner node, each an inner node's number or `~symbol`. */
function buildTree(): number[] {
  const tree = [0, 0]; // 0 stands for nothing: nobody's child is the root
  for (let symbol = 0; symbol < symbolCount; symbol++) {
    let node = 0;
    for (let bit = lengthOf(symbol) - 1; bit >= 0; bit--) {
      const side = node * 2 + (((codes[symbol] ?? 0) >>> bit) & 1);
      if (bit === 0) tree[side] = ~symbol;
      else if (tree[side] === 0) tree[side] = tree.push(0, 0) / 2 - 1;
      node = tree[side] ?? 0;
    }
  }
  return tree;
}

/** For each inner node and the next four bits: the symbol they complete, the node they lead to, or the failure. */
function buildSteps(): Int32Array {
  const table = new Int32Array((tree.length / 2) * 16);
  for (let from = 0; from < tree.length / 2; from++) {
    for (let bits = 0; bits < 16; bits++) {
      let node = from;
      let found = 0;
      for (let bit = 3; bit >= 0; bit--) {
        const child = tree[node * 2 + ((bits >>> bit) & 1)] ?? 0;
        node = child < 0 ? 0 : child;
        if (child < 0) found = ~child === endOfString ? failing : emitting | ~child;
        if (found === failing) break;
      }
      table[from * 16 + bits] = found | ((node * 16) << stateShift);
    }
  }
  return table;
}

/** Where a text may end: between symbols, or up to seven ones into one (RFC 7541 5.2). */
function buildAccepting(): Uint8Array {
  const table = new Uint8Array(tree.length / 2);
  let node = 0;
  for (let ones = 0; ones <= 7; ones++) {
    table[node] = 1;
    node = tree[node * 2 + 1] ?? 0;
  }
  return table;
}

function lengthOf(symbol: number): number {
  return symbol === endOfString ? 30 : (lengths[symbol] ?? 0);
}

const endOfString = 256;
const symbolCount = 257;

/** A step: the octet in bits 0 to 7, two flags, and sixteen times the next state from bit 10 on. */
const emitting = 1 << 8;
const failing = 1 << 9;
const stateShift = 10;
const stateMask = 0xfff;

/** Bits of each octet's code, RFC 7541 appendix B, sixteen octets a line. */
// prettier-ignore
export const lengths = Uint8Array.of(
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
);
const codes = assignCodes();
const tree = buildTree();
const steps = buildSteps();
const accepting = buildAccepting();
