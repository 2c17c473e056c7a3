/** DNS messages for tests, well-formed or not. */

export interface MessageParts {
  readonly id?: number;
  /** Flags and opcode; default: recursion desired. */
  readonly flags?: number;
  readonly name?: string;
  readonly labels?: readonly string[];
  /** In place of an encoded name. */
  readonly raw?: Uint8Array;
  readonly type: number;
  readonly class?: number;
  readonly authority?: readonly Uint8Array[];
  readonly additional?: readonly Uint8Array[];
}

/** One question and what is beside it. */
export function dnsMessage(parts: MessageParts): Buffer {
  const { id = 0x1234, flags = 0x0100, name, labels = name?.split(".") ?? [], raw, type } = parts;
  const { class: of = 1, authority = [], additional = [] } = parts;
  const encoded = labels.flatMap((label) => [Buffer.of(Buffer.byteLength(label)), Buffer.from(label)]);
  const question = raw ?? Buffer.concat([...encoded, Buffer.of(0)]);
  const fixed = Buffer.of(type >> 8, type & 0xff, of >> 8, of & 0xff);
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flags, 2);
  const bytes = Buffer.concat([header, question, fixed, ...authority, ...additional]);
  return withCounts(bytes, 1, 0, authority.length, additional.length);
}

/** The same message, said to have so many questions, answers, authorities and additional records. */
export function withCounts(bytes: Uint8Array, ...numbers: [number, number, number, number]): Buffer {
  const copy = Buffer.from(bytes);
  numbers.forEach((number, i) => copy.writeUInt16BE(number, 4 + 2 * i));
  return copy;
}

/** An OPT record (RFC 6891). @param length what it says of its options, of which it has none. */
export function optRecord({ payload = 4096, version = 0, dnssecOk = false, length = 0 } = {}): Buffer {
  const bytes = Buffer.alloc(11);
  bytes.writeUInt16BE(41, 1);
  bytes.writeUInt16BE(payload, 3);
  bytes[6] = version;
  bytes.writeUInt16BE(dnssecOk ? 0x8000 : 0, 7);
  bytes.writeUInt16BE(length, 9);
  return bytes;
}

/** A record of the root. */
export function rootRecord(type: number, data: Uint8Array): Buffer {
  const fixed = Buffer.alloc(11);
  fixed.writeUInt16BE(type, 1);
  fixed.writeUInt16BE(data.length, 9);
  return Buffer.concat([fixed, data]);
}

/** What a reply says in short: `NOERROR aa tc 10.0.0.1 …`. Compression is undone for addresses only. */
export function summaryOf(reply: Uint8Array): string {
  const bytes = Buffer.from(reply);
  const flags = bytes.readUInt16BE(2);
  const code = codes[flags & 0xf] ?? String(flags & 0xf);
  const words = [code, ...((flags & 0x0400) !== 0 ? ["aa"] : []), ...((flags & 0x0200) !== 0 ? ["tc"] : [])];
  let at = 12;
  for (let left = bytes.readUInt16BE(4); left > 0; left--) at = nameEnd(bytes, at) + 4;
  const records: string[] = [];
  for (let left = bytes.readUInt16BE(6); left > 0; left--) {
    at = nameEnd(bytes, at);
    const [type, length] = [bytes.readUInt16BE(at), bytes.readUInt16BE(at + 8)];
    const data = bytes.subarray(at + 10, at + 10 + length);
    if (type === 1) records.push(data.join("."));
    else if (type === 28) records.push(data.toString("hex").replace(/^(.{4})0+(.+)$/, "$1::$2"));
    else records.push(type === 5 ? "CNAME" : `TYPE${type}`);
    at += 10 + length;
  }
  return [...words, ...records.sort()].join(" ");
}

/** Words of an extended error (RFC 8914), where it has one. */
export function extendedErrorOf(reply: Uint8Array): string | undefined {
  return /DNS_[A-Z_]+|POD_UNKNOWN/.exec(Buffer.from(reply).toString("latin1"))?.[0];
}

function nameEnd(bytes: Buffer, from: number): number {
  let at = from;
  for (;;) {
    const length = bytes[at] ?? 0;
    if (length === 0) return at + 1;
    if (length >= 0xc0) return at + 2;
    at += 1 + length;
  }
}

export const A = 1;
export const AAAA = 28;

const codes = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
