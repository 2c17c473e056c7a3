/** Numbers of DNS (RFC 1035, RFC 6891, IANA "Domain Name System Parameters"): those that this project tells apart. */

/** What stands in the second word of the header (RFC 1035 4.1.1, RFC 4035 3.2.2), each at its place in it. */
export const headerFlags = {
  response: 0x8000,
  opcode: 0x7800,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  checkingDisabled: 0x0010,
} as const;

/** OPCODE: what is asked for. */
export const opcodes = { query: 0, notify: 4, update: 5 } as const;

/** RCODE. `badVersion` is an extended one: its upper eight bits are in the OPT record. */
export const rcodes = { noError: 0, formatError: 1, serverFailure: 2, notImplemented: 4, badVersion: 16 } as const;

/** TYPE: those that we own, and those that change how a message is to be taken. */
export const types = { A: 1, CNAME: 5, AAAA: 28, OPT: 41 } as const;

export const classIn = 1;

/** The name of a type where it is a common one, else "other": a label of metrics must not be the client's to choose. */
export function typeName(type: number): string {
  return typeNames.get(type) ?? "other";
}

/** What a name takes at most, its last zero included (RFC 1035 2.3.4). */
export const longestName = 255;

/** Bytes of the header, which every message begins with (RFC 1035 4.1.1). */
export const headerLength = 12;

/** What a client without EDNS takes over UDP (RFC 1035 4.2.1). */
export const plainUdpLimit = 512;

/** What two bytes of length allow over TCP (RFC 1035 4.2.2). */
export const messageLimit = 65_535;

const typeNames: ReadonlyMap<number, string> = new Map([
  [1, "A"],
  [2, "NS"],
  [5, "CNAME"],
  [6, "SOA"],
  [12, "PTR"],
  [13, "HINFO"],
  [15, "MX"],
  [16, "TXT"],
  [28, "AAAA"],
  [33, "SRV"],
  [35, "NAPTR"],
  [43, "DS"],
  [46, "RRSIG"],
  [48, "DNSKEY"],
  [64, "SVCB"],
  [65, "HTTPS"],
  [251, "IXFR"],
  [252, "AXFR"],
  [255, "ANY"],
  [257, "CAA"],
]);
