/**
 * HTTP/2 frames by hand (RFC 9113 section 4.1, 6): any type, any flag, any length, legal or not. Header blocks are literals without
 * indexing (RFC 7541 6.2.2), never Huffman-coded, so that what is sent is what is read here.
 */

export const frameTypes = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
  altsvc: 10,
  origin: 12,
} as const;

export const flags = { none: 0, endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

/** Error codes (RFC 9113 7). */
export const h2Errors = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  connectError: 10,
  enhanceYourCalm: 11,
} as const;

export const settingIds = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** @param length what the header claims, where that is to differ from what follows. */
export function frame(type: number, flag: number, stream: number, payload: Uint8Array = none, length?: number): Buffer {
  const bytes = Buffer.allocUnsafe(9 + payload.length);
  bytes.writeUIntBE(length ?? payload.length, 0, 3);
  bytes[3] = type;
  bytes[4] = flag;
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}

export function data(stream: number, payload: Uint8Array | string, flag: number = flags.none): Buffer {
  return frame(frameTypes.data, flag, stream, typeof payload === "string" ? Buffer.from(payload) : payload);
}

/** Of a block that is whole unless the flags say otherwise. */
export function headers(stream: number, block: Uint8Array, flag: number = flags.endHeaders): Buffer {
  return frame(frameTypes.headers, flag, stream, block);
}

export function continuation(stream: number, block: Uint8Array, flag: number = flags.none): Buffer {
  return frame(frameTypes.continuation, flag, stream, block);
}

export function rstStream(stream: number, code: number = h2Errors.cancel): Buffer {
  return frame(frameTypes.rstStream, flags.none, stream, uint32(code));
}

export function settings(entries: readonly (readonly [id: number, value: number])[] = []): Buffer {
  const payload = Buffer.allocUnsafe(entries.length * 6);
  entries.forEach(([id, value], index) => {
    payload.writeUInt16BE(id, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  });
  return frame(frameTypes.settings, flags.none, 0, payload);
}

export function settingsAck(): Buffer {
  return frame(frameTypes.settings, flags.ack, 0);
}

export function ping(flag: number = flags.none, payload: Uint8Array = Buffer.alloc(8)): Buffer {
  return frame(frameTypes.ping, flag, 0, payload);
}

export function goaway(lastStream: number, code: number = h2Errors.noError): Buffer {
  return frame(frameTypes.goaway, flags.none, 0, Buffer.concat([uint32(lastStream), uint32(code)]));
}

export function windowUpdate(stream: number, increment: number): Buffer {
  return frame(frameTypes.windowUpdate, flags.none, stream, uint32(increment));
}

/** A header block of literals that leave no trace in any table. */
export function block(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [zero, text(name), text(value)]));
}

/** The block of a CONNECT, with whatever else is to be in it. */
export function connectBlock(authority: string, more: readonly (readonly [string, string])[] = []): Buffer {
  return block([[":method", "CONNECT"], [":authority", authority], ...more]);
}

export function connect(stream: number, authority: string, flag: number = flags.endHeaders): Buffer {
  return headers(stream, connectBlock(authority), flag);
}

/** An integer with a prefix of so many bits (RFC 7541 5.1). @param high the bits above the prefix. */
export function integer(value: number, prefixBits: number, high = 0): Buffer {
  const most = (1 << prefixBits) - 1;
  if (value < most) return Buffer.from([high | value]);
  const bytes = [high | most];
  for (let rest = value - most; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}

/** A string literal that is not Huffman-coded (RFC 7541 5.2). */
export function text(value: string): Buffer {
  return Buffer.concat([integer(Buffer.byteLength(value, "latin1"), 7), Buffer.from(value, "latin1")]);
}

/** The code of an RST_STREAM or GOAWAY. */
export function errorCodeOf({ type, payload }: Frame): number {
  return payload.readUInt32BE(type === frameTypes.goaway ? 4 : 0);
}

/** The last stream id of a GOAWAY. */
export function lastStreamOf({ payload }: Frame): number {
  return payload.readUInt32BE(0) & 0x7fff_ffff;
}

/** The value of a setting in a SETTINGS frame, or undefined. */
export function settingOf({ payload }: Frame, id: number): number | undefined {
  for (let at = 0; at + 6 <= payload.length; at += 6)
    if (payload.readUInt16BE(at) === id) return payload.readUInt32BE(at + 2);
  return undefined;
}

/** `:status` of an answer, which comes first in its block; the encoder has been told to keep no table. */
export function statusOf({ payload, flags: flag }: Frame): number {
  let at = (flag & flags.padded) !== 0 ? 1 : 0;
  if ((flag & flags.priority) !== 0) at += 5;
  while (((payload[at] ?? 0) & 0xe0) === 0x20) at += 1; // size updates of the table
  const first = payload[at] ?? 0;
  if ((first & 0x80) !== 0) return staticStatuses[(first & 0x7f) - 8] ?? 0;
  const size = payload[at + 1] ?? 0;
  const value = payload.subarray(at + 2, at + 2 + (size & 0x7f));
  return Number((size & 0x80) === 0 ? value.toString("latin1") : huffmanDigits(value));
}

/** Takes bytes as they come and gives whole frames. */
export class FrameReader {
  #rest: Buffer = none;

  *read(chunk: Buffer): Generator<Frame> {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (this.#rest.length - at >= 9) {
      const end = at + 9 + this.#rest.readUIntBE(at, 3);
      if (end > this.#rest.length) break;
      const [type = 0, flag = 0] = this.#rest.subarray(at + 3, at + 5);
      const stream = this.#rest.readUInt32BE(at + 5) & 0x7fff_ffff;
      yield { type, flags: flag, stream, payload: this.#rest.subarray(at + 9, end) };
      at = end;
    }
    this.#rest = this.#rest.subarray(at);
  }
}

/** Digits of RFC 7541 appendix B: five bits for 0 to 2, six for the others. */
function huffmanDigits(bytes: Uint8Array): string {
  let bits = "";
  for (const byte of bytes) bits += byte.toString(2).padStart(8, "0");
  let digits = "";
  for (let at = 0; bits.length - at >= 5 && digits.length < 3;) {
    const five = parseInt(bits.slice(at, at + 5), 2);
    const length = five <= 2 ? 5 : 6;
    digits += length === 5 ? String(five) : String(parseInt(bits.slice(at, at + 6), 2) - 0b011001 + 3);
    at += length;
  }
  return digits;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

const none = Buffer.alloc(0);
const zero = Buffer.from([0]);
/** Static table entries 8 to 14. */
const staticStatuses = [200, 204, 206, 304, 400, 404, 500];
