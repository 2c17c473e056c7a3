/**
 * Certificate revocation lists (RFC 5280 5), read in slices: a list may have hundreds of thousands of entries, and whoever reads it has
 * something else to do as well. Only whole lists of one issuer; deltas and lists for other issuers are refused, because half of what they
 * say would be lost.
 */
import { derTags, DerError, DerReader } from "./der-reader.ts";
import { nameKey } from "./name.ts";
import { addSerial, emptySerialSet, longestSerial, type SerialSet } from "./serial-set.ts";
import { X509Error } from "./x509-error.ts";

export interface RevocationList {
  /** nameKey of the authority whose certificates are meant. */
  readonly issuer: string;
  /** Of the key that signed it (authorityKeyIdentifier); absent where the list does not say. */
  readonly authorityKey: Uint8Array | undefined;
  readonly thisUpdateMs: number;
  /** When the next one should have been there; absent where the list does not say. */
  readonly nextUpdateMs: number | undefined;
  readonly serials: SerialSet;
  readonly signature: CrlSignature;
}

export interface CrlSignature {
  /** TBSCertList as it was signed. */
  readonly data: Uint8Array;
  /** OID. */
  readonly algorithm: string;
  readonly value: Uint8Array;
}

/** Work in slices: each `next()` takes about a millisecond at most. */
export type Sliced<Result> = Generator<undefined, Result>;

/** All of a file: one list in DER, or any number in PEM among other blocks, which are skipped. Nothing but white space: no list. */
export function* parseCrlFile(bytes: Uint8Array): Sliced<RevocationList[] | X509Error> {
  if (bytes.length > longestFile) return new X509Error({ code: "x509.crl-too-large", bytes: bytes.length });
  try {
    if (bytes[0] === derTags.sequence) return [yield* parseList(shared(bytes))];
    const lists: RevocationList[] = [];
    for (const { from, to } of blocksOf(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))) {
      lists.push(yield* parseList(yield* decodeBase64(bytes, from, to)));
    }
    return lists;
  } catch (thrown) {
    if (!(thrown instanceof DerError)) throw thrown;
    return new X509Error({ code: "x509.undecodable", what: "crl", reason: thrown.message });
  }
}

/** CertificateList ::= SEQUENCE { tbsCertList, signatureAlgorithm, signatureValue } */
function* parseList(der: Uint8Array): Sliced<RevocationList> {
  const outer = new DerReader(der);
  outer.expect(derTags.sequence);
  outer.done();
  const parts = outer.inside();
  parts.expect(derTags.sequence);
  const data = parts.whole();
  const fields = parts.inside();
  parts.expect(derTags.sequence);
  const algorithm = parts.whole();
  const algorithmId = parts.inside();
  algorithmId.expect(derTags.oid);
  parts.expect(derTags.bits);
  const [unusedBits, ...value] = parts.content();
  if (unusedBits !== 0) throw new DerError("not a whole signature");
  parts.done();

  if (fields.ahead === derTags.integer) {
    fields.next();
    if (fields.content().length !== 1 || fields.content()[0] !== 1) throw new DerError("not a version 2 list");
  }
  fields.expect(derTags.sequence);
  if (!isSame(fields.whole(), algorithm)) throw new DerError("two signature algorithms");
  fields.expect(derTags.sequence);
  const issuer = nameKey(fields.whole());
  const thisUpdateMs = timeOf(fields);
  const hasNext = fields.ahead === derTags.utcTime || fields.ahead === derTags.generalizedTime;
  const nextUpdateMs = hasNext ? timeOf(fields) : undefined;
  let serials = emptySerialSet(der, 0);
  if (fields.ahead === derTags.sequence) {
    fields.next();
    serials = yield* parseEntries(der, fields.start, fields.end);
  }
  let authorityKey: Uint8Array | undefined;
  if (fields.ahead === explicitExtensions) {
    fields.next();
    const all = fields.inside();
    all.expect(derTags.sequence);
    all.done();
    authorityKey = readExtensions(all.inside());
  }
  fields.done();
  return {
    issuer,
    authorityKey,
    thisUpdateMs,
    nextUpdateMs,
    serials,
    signature: { data, algorithm: dotted(algorithmId.content()), value: Uint8Array.from(value) },
  };
}

/** SEQUENCE OF SEQUENCE { userCertificate INTEGER, revocationDate, crlEntryExtensions OPTIONAL } */
function* parseEntries(der: Uint8Array, from: number, to: number): Sliced<SerialSet> {
  let count = 0;
  for (const entries = new DerReader(der, from, to); entries.next(); count++) if (count % aSlice === 0) yield;
  const set = emptySerialSet(der, count);
  const entries = new DerReader(der, from, to);
  const entry = new DerReader(der);
  for (let read = 0; read < count; read++) {
    if (read % aSlice === 0) yield;
    entries.expect(derTags.sequence);
    entry.reset(entries.start, entries.end);
    entry.expect(derTags.integer);
    const length = entry.end - entry.start;
    if (length === 0 || length > longestSerial) throw new DerError("a serial number that is too long, or none");
    addSerial(set, entry.start, entry.end);
    if (!entry.next() || (entry.tag !== derTags.utcTime && entry.tag !== derTags.generalizedTime)) {
      throw new DerError("an entry without a date");
    }
    if (entry.isDone) continue;
    entry.expect(derTags.sequence);
    refuseForeignEntry(entry.inside());
    entry.done();
  }
  return set;
}

/** A critical extension changes what an entry means: the only one there is says that the certificate is another issuer's. */
function refuseForeignEntry(extensions: DerReader): void {
  while (extensions.next()) {
    const parts = extensions.inside();
    parts.expect(derTags.oid);
    if (parts.ahead === derTags.boolean) throw new DerError("an entry with a critical extension");
  }
}

/** @returns the keyIdentifier of authorityKeyIdentifier. */
function readExtensions(extensions: DerReader): Uint8Array | undefined {
  let authorityKey: Uint8Array | undefined;
  while (extensions.next()) {
    const parts = extensions.inside();
    parts.expect(derTags.oid);
    const id = dotted(parts.content());
    const isCritical = parts.ahead === derTags.boolean && parts.next() && parts.content()[0] !== 0;
    parts.expect(derTags.octets);
    if (id === oids.authorityKeyIdentifier) authorityKey = keyIdentifierOf(parts.inside());
    // Which certificates of the issuer a list is about narrows nothing for us: what it names is revoked.
    else if (id === oids.issuingDistributionPoint) refuseIndirect(parts.inside());
    else if (isCritical) throw new DerError(`a critical extension ${id}`);
  }
  return authorityKey;
}

function keyIdentifierOf(value: DerReader): Uint8Array | undefined {
  value.expect(derTags.sequence);
  const fields = value.inside();
  return fields.ahead === keyIdentifierTag && fields.next() ? Uint8Array.from(fields.content()) : undefined;
}

/** indirectCRL [4] BOOLEAN: certificates of other issuers. */
function refuseIndirect(value: DerReader): void {
  value.expect(derTags.sequence);
  for (const fields = value.inside(); fields.next();) {
    if (fields.tag === indirectTag && fields.content()[0] !== 0) throw new DerError("an indirect list");
  }
}

/** UTCTime or GeneralizedTime with seconds, in UTC (RFC 5280 5.1.2.4). */
function timeOf(fields: DerReader): number {
  if (!fields.next()) throw new DerError("no time");
  const text = Buffer.from(fields.content()).toString("latin1");
  const [, century = "", year = "", ...rest] =
    fields.tag === derTags.utcTime
      ? (/^()(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? [])
      : (/^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? []);
  const [month = 0, day = 0, hour = 0, minute = 0, second = 0] = rest.map(Number);
  if (month === 0) throw new DerError("a time that is none");
  const full = century === "" ? Number(year) + (Number(year) < 50 ? 2000 : 1900) : Number(century + year);
  return Date.UTC(full, month - 1, day, hour, minute, second);
}

function dotted(content: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  for (const octet of content) {
    arc = arc * 128 + (octet & 0x7f);
    if (octet >= 0x80) continue;
    arcs.push(arc);
    arc = 0;
  }
  const [first = 0, ...others] = arcs;
  const root = Math.min(2, Math.floor(first / 40));
  return [root, first - root * 40, ...others].join(".");
}

/** Where the base64 of each list is. Other blocks are not looked into, but must be whole: a file that is cut is not half of the truth. */
function* blocksOf(text: Buffer): Generator<{ readonly from: number; readonly to: number }> {
  let at = text.indexOf(begin);
  if (at < 0) {
    if (/^\s*$/.test(text.toString("latin1", 0, 4096)) && text.length <= 4096) return;
    throw new DerError("neither DER nor PEM");
  }
  for (; at >= 0; at = text.indexOf(begin, at)) {
    const from = text.indexOf("\n", at) + 1;
    const line = from === 0 ? "" : text.toString("latin1", at, from).trimEnd();
    const [, label] = /^-----BEGIN ([A-Z0-9 ]{1,64})-----$/.exec(line) ?? [];
    const to = label === undefined ? -1 : text.indexOf(`-----END ${label}-----`, from);
    const next = text.indexOf(begin, from);
    if (to < 0 || (next >= 0 && next < to)) throw new DerError("a block is not well-formed");
    if (label === "X509 CRL") yield { from, to };
    at = to;
  }
}

/** @returns on shared memory. */
function* decodeBase64(bytes: Uint8Array, from: number, to: number): Sliced<Uint8Array> {
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const decoded = new Uint8Array(new SharedArrayBuffer(Math.ceil(((to - from) * 3) / 4)));
  let length = 0;
  let rest = "";
  let isPadded = false;
  for (let at = from; at < to; at += base64Slice) {
    const text = rest + source.toString("latin1", at, Math.min(to, at + base64Slice)).replace(/[\r\n \t]/g, "");
    const whole = text.length - (text.length % 4);
    rest = text.slice(whole);
    const part = text.slice(0, whole);
    if ((isPadded && part !== "") || !/^[A-Za-z0-9+/]*={0,2}$/.test(part)) throw new DerError("base64");
    isPadded ||= part.endsWith("=");
    const octets = Buffer.from(part, "base64");
    decoded.set(octets, length);
    length += octets.length;
    yield;
  }
  if (rest !== "") throw new DerError("base64");
  return decoded.subarray(0, length);
}

function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

const oids = { authorityKeyIdentifier: "2.5.29.35", issuingDistributionPoint: "2.5.29.28" } as const;
const explicitExtensions = 0xa0;
const keyIdentifierTag = 0x80;
const indirectTag = 0x84;
const begin = "-----BEGIN ";
const aSlice = 8_192;
const base64Slice = 262_144;
/** Half a million certificates. A larger file is refused before anything of it is read. */
const longestFile = 32 << 20;
