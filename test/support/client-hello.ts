/** A ClientHello as it is on the wire (RFC 8446 4.1.2): what a client offers, whatever it would say about itself. */

export interface ClientHello {
  readonly suites: readonly number[];
  /** By type; a type has its content. */
  readonly extensions: ReadonlyMap<number, Buffer>;
  /** Groups for which there is a key share already. */
  readonly shares: readonly number[];
  readonly groups: readonly number[];
  readonly versions: readonly number[];
}

export const extensionTypes = {
  serverName: 0,
  groups: 10,
  alpn: 16,
  sessionTicket: 35,
  preSharedKey: 41,
  versions: 43,
  shares: 51,
};

/** @param bytes TLS records from the beginning. @returns undefined until it is all there. */
export function readClientHello(bytes: Buffer): ClientHello | undefined {
  if (bytes.length < 5 || bytes.length < 5 + bytes.readUInt16BE(3)) return undefined;
  // Record header, handshake header, version, random.
  let at = 5 + 4 + 2 + 32;
  at += 1 + bytes.readUInt8(at);
  const suites = words(bytes.subarray(at + 2, (at += 2 + bytes.readUInt16BE(at))));
  at += 1 + bytes.readUInt8(at);
  const end = at + 2 + bytes.readUInt16BE(at);
  const extensions = new Map<number, Buffer>();
  for (at += 2; at < end;) {
    const type = bytes.readUInt16BE(at);
    const next = at + 4 + bytes.readUInt16BE(at + 2);
    extensions.set(type, bytes.subarray(at + 4, next));
    at = next;
  }
  const shares: number[] = [];
  const list = extensions.get(extensionTypes.shares)?.subarray(2) ?? Buffer.alloc(0);
  for (let share = 0; share < list.length; share += 4 + list.readUInt16BE(share + 2))
    shares.push(list.readUInt16BE(share));
  return {
    suites,
    extensions,
    shares,
    groups: words(extensions.get(extensionTypes.groups)?.subarray(2)),
    versions: words(extensions.get(extensionTypes.versions)?.subarray(1)),
  };
}

function words(bytes: Buffer = Buffer.alloc(0)): number[] {
  return Array.from({ length: bytes.length >> 1 }, (_, at) => bytes.readUInt16BE(at * 2));
}
