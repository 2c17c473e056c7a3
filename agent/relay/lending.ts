/**
 * Octets that are lent: what was read from a socket, or decrypted, lies in memory that is soon written over. Who is told of octets has
 * them for as long as the call lasts; who keeps them longer asks {@link keep}. One thread does one thing at a time, so there is one such
 * word for all of them.
 */

/** What holds for the octets of the call that is under way. */
const terms = {
  /** They cannot be left to anybody: whoever keeps them gets a copy. */
  fleeting: false,
  /** Somebody keeps them. */
  kept: false,
};

/** @param chunk that the caller has been handed. @returns the same octets, for as long as the caller likes. */
export function keep(chunk: Uint8Array): Uint8Array {
  if (terms.fleeting) return Buffer.from(chunk);
  terms.kept = true;
  return chunk;
}

/** Whether {@link keep} would copy: for who can't say before that it is going to keep them. */
export function mustCopy(): boolean {
  return terms.fleeting;
}

/** They may be kept by whoever wants to, who then has them for good. @returns for {@link takenBack}. */
export function lend(): number {
  return begin(false);
}

/** As {@link lend}; but they will be written over, whatever happens. */
export function lendFleeting(): number {
  return begin(true);
}

/** After the call. @param stillRead for a reason that nobody said. @returns whether they are somebody else's from now on. */
export function takenBack(before: number, octets: Uint8Array, stillRead = false): boolean {
  const kept = !terms.fleeting && (stillRead || terms.kept);
  terms.fleeting = (before & 1) !== 0;
  terms.kept = (before & 2) !== 0;
  if (spoils && !kept) octets.fill(spoilt);
  return kept;
}

function begin(fleeting: boolean): number {
  const before = (terms.fleeting ? 1 : 0) | (terms.kept ? 2 : 0);
  terms.fleeting = fleeting;
  terms.kept = false;
  return before;
}

/** Whoever keeps octets without asking is found out at once. For tests. */
const spoils = process.env["AMBIENTD_SPOIL_LENT"] === "1";
const spoilt = 0xdb;
