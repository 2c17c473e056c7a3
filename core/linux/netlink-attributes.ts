/**
 * Netlink attributes (linux/netlink.h, struct nlattr): 16-bit length of header and payload, 16-bit type, payload, padding to
 * four bytes; all in the host's order, which is little-endian on all that we run on.
 */

/** One attribute: its bytes, header and padding included. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const length = HEADER + payload.length;
  const bytes = Buffer.alloc(aligned(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(payload, HEADER);
  return bytes;
}

/** An attribute that holds attributes. */
export function nested(type: number, children: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NLA_F_NESTED, Buffer.concat(children));
}

/** Text ends in a zero byte. */
export function textAttribute(type: number, text: string): Uint8Array {
  return attribute(type, Buffer.from(`${text}\0`));
}

/** 32 bits in the host's order: what rtnetlink and register contents use. */
export function uint32Attribute(type: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return attribute(type, bytes);
}

/** 32 bits in network order: what nfnetlink uses for its own numbers. */
export function uint32NetworkAttribute(type: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return attribute(type, bytes);
}

/** Payloads by type; of a repeated type the last. Bytes that are no attribute end the list. */
export function parseAttributes(bytes: Uint8Array): Map<number, Buffer> {
  return new Map(listAttributes(bytes));
}

/** In order, repeated types included: for lists. */
export function listAttributes(bytes: Uint8Array): [type: number, payload: Buffer][] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: [number, Buffer][] = [];
  for (let at = 0; at + HEADER <= view.length;) {
    const length = view.readUInt16LE(at);
    if (length < HEADER || at + length > view.length) break;
    found.push([view.readUInt16LE(at + 2) & NLA_TYPE_MASK, view.subarray(at + HEADER, at + length)]);
    at += aligned(length);
  }
  return found;
}

/** The text of a payload up to its zero byte. */
export function attributeText(payload: Uint8Array | undefined): string {
  if (payload === undefined) return "";
  const end = payload.indexOf(0);
  return Buffer.from(payload.subarray(0, end < 0 ? payload.length : end)).toString();
}

export function aligned(length: number): number {
  return (length + 3) & ~3;
}

const HEADER = 4;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
