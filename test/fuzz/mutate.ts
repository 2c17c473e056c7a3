/** Inputs made of others: what a fuzzer does between two runs. */
import type { Random } from "../../core/base/random.ts";

/** A few changes to one of the inputs, some of them with parts of another. */
export function mutate(random: Random, inputs: readonly Uint8Array[]): Uint8Array {
  let bytes = Buffer.from(pick(random, inputs));
  const times = 1 + Math.floor(random() ** 2 * 8);
  for (let i = 0; i < times; i++) bytes = pick(random, changes)(random, bytes, inputs);
  return bytes.subarray(0, longest);
}

type Change = (random: Random, bytes: Buffer, inputs: readonly Uint8Array[]) => Buffer<ArrayBuffer>;

const changes: readonly Change[] = [
  function flipBit(random, bytes) {
    const at = below(random, bytes.length);
    return put(bytes, at, (bytes[at] ?? 0) ^ (1 << below(random, 8)));
  },
  function setOctet(random, bytes) {
    const octet = random() < 0.5 ? pick(random, interesting) : below(random, 256);
    return put(bytes, below(random, bytes.length), octet);
  },
  function addToOctet(random, bytes) {
    const at = below(random, bytes.length);
    return put(bytes, at, (bytes[at] ?? 0) + below(random, 33) - 16);
  },
  function insert(random, bytes) {
    const more = Buffer.from(Array.from({ length: 1 + below(random, 4) }, () => below(random, 256)));
    return splice(bytes, below(random, bytes.length + 1), 0, more);
  },
  function remove(random, bytes) {
    return splice(bytes, below(random, bytes.length), 1 + below(random, 8), Buffer.alloc(0));
  },
  function repeat(random, bytes) {
    const from = below(random, bytes.length);
    const part = bytes.subarray(from, from + 1 + below(random, 32));
    const times = 1 + Math.floor(random() ** 4 * 200);
    return splice(bytes, from, 0, Buffer.concat(Array.from({ length: times }, () => part)));
  },
  function cut(random, bytes) {
    return Buffer.from(bytes.subarray(0, below(random, bytes.length + 1)));
  },
  function cross(random, bytes, inputs) {
    const other = pick(random, inputs);
    const from = below(random, other.length);
    const part = Buffer.from(other.subarray(from, from + 1 + below(random, other.length)));
    return splice(bytes, below(random, bytes.length + 1), random() < 0.5 ? 0 : part.length, part);
  },
];

function splice(bytes: Buffer, at: number, removed: number, more: Uint8Array): Buffer<ArrayBuffer> {
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at + removed)]);
}

function put(bytes: Buffer, at: number, octet: number): Buffer<ArrayBuffer> {
  const changed = Buffer.from(bytes);
  if (at < changed.length) changed[at] = octet;
  return changed;
}

function pick<T>(random: Random, from: readonly T[]): T {
  return from[below(random, from.length)]!;
}

function below(random: Random, limit: number): number {
  return Math.floor(random() * limit);
}

/** The edges of octets, prefixes and flags. */
const interesting = [0, 1, 0x0f, 0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xbe, 0xbf, 0xe1, 0xfe, 0xff];
const longest = 4096;
