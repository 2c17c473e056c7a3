/** DER as a tree: the few ASN.1 types X.509 needs, built and taken apart with node-forge's ASN.1. */
import asn1, { type Asn1 } from "node-forge/lib/asn1.js";

/** One ASN.1 value: `value` holds octets (one per character) or, where constructed, its children. */
export type Der = Asn1;

const { Class, Type } = asn1;

export function encodeDer(tree: Der): Buffer {
  return Buffer.from(asn1.toDer(tree).getBytes(), "latin1");
}

/** Throws on anything but exactly one well-formed value, nested at most 64 deep. */
export function decodeDer(bytes: Uint8Array): Der {
  const octets = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
  const options = { strict: true, parseAllBytes: true, decodeBitStrings: false, maxDepth: 64 };
  return asn1.fromDer(octets, options);
}

export function sequence(...children: Der[]): Der {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, children);
}

export function set(...children: Der[]): Der {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, children);
}

export function oid(dotted: string): Der {
  return primitive(Type.OID, asn1.oidToDer(dotted).getBytes());
}

/** A non-negative integer from its octets, most significant first. */
export function unsigned(bytes: Uint8Array): Der {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const shortest = Buffer.from(bytes.subarray(start)).toString("latin1");
  return primitive(Type.INTEGER, (bytes[start] ?? 0) >= 0x80 ? `\0${shortest}` : shortest || "\0");
}

export function boolean(value: boolean): Der {
  return primitive(Type.BOOLEAN, value ? "\xff" : "\0");
}

export function nothing(): Der {
  return primitive(Type.NULL, "");
}

export function octets(bytes: Uint8Array): Der {
  return primitive(Type.OCTETSTRING, latin1(bytes));
}

/** @param unusedBits how many low bits of the last octet do not count. */
export function bits(bytes: Uint8Array, unusedBits = 0): Der {
  return primitive(Type.BITSTRING, String.fromCharCode(unusedBits) + latin1(bytes));
}

export function utf8(text: string): Der {
  return primitive(Type.UTF8, latin1(Buffer.from(text, "utf8")));
}

/** UTCTime up to 2049, GeneralizedTime after (RFC 5280 4.1.2.5); whole seconds, rounded down. */
export function time(wallMs: number): Der {
  const text = new Date(Math.floor(wallMs / 1000) * 1000).toISOString().replace(/[-:T]|\.\d+/g, "");
  return wallMs < Date.UTC(2050, 0, 1) ? primitive(Type.UTCTIME, text.slice(2)) : primitive(Type.GENERALIZEDTIME, text);
}

/** `[tag]` around whole values. */
export function explicit(tag: number, ...children: Der[]): Der {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, true, children);
}

/** `[tag]` in place of a string type's own tag. */
export function implicit(tag: number, bytes: Uint8Array): Der {
  return asn1.create(Class.CONTEXT_SPECIFIC, tag, false, latin1(bytes));
}

/** Children of a constructed value, none of any other. */
export function childrenOf(tree: Der | undefined): readonly Der[] {
  return tree === undefined || typeof tree.value === "string" ? [] : tree.value;
}

/** Octets of a primitive value, empty for any other. */
export function octetsOf(tree: Der | undefined): Buffer {
  return Buffer.from(typeof tree?.value === "string" ? tree.value : "", "latin1");
}

/** Dotted text of an OBJECT IDENTIFIER, empty for any other. */
export function oidOf(tree: Der | undefined): string {
  if (tree === undefined || !isUniversal(tree, Type.OID) || typeof tree.value !== "string") return "";
  return asn1.derToOid(tree.value);
}

export function isSequence(tree: Der | undefined): boolean {
  return tree !== undefined && tree.constructed && isUniversal(tree, Type.SEQUENCE);
}

export function isOctets(tree: Der | undefined): boolean {
  return tree !== undefined && !tree.constructed && isUniversal(tree, Type.OCTETSTRING);
}

export function isBits(tree: Der | undefined): boolean {
  return tree !== undefined && !tree.constructed && isUniversal(tree, Type.BITSTRING);
}

/** Whether it is `[tag]` of a context. */
export function isTagged(tree: Der | undefined, tag: number): boolean {
  return tree?.tagClass === Class.CONTEXT_SPECIFIC && tree.type === tag;
}

function isUniversal(tree: Der, type: number): boolean {
  return tree.tagClass === Class.UNIVERSAL && tree.type === type;
}

function primitive(type: number, value: string): Der {
  return asn1.create(Class.UNIVERSAL, type, false, value);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}
