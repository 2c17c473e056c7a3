/**
 * Octets that are lent: what TLS has decrypted lies in memory that is soon written over. Who is told of octets has them for as long as
 * the call lasts; who keeps them longer, and has not copied them, says so in the same call. One thread does one thing at a time, so
 * there is one such word for all of them.
 */
export const lending = {
  /** Set by whoever keeps what it has just been handed. */
  kept: false,
};

/** Before octets are handed out; what they are handed out within may be such a call itself. @returns for {@link takenBack}. */
export function lend(): boolean {
  const before = lending.kept;
  lending.kept = false;
  return before;
}

/** After the call. @param stillRead for a reason that nobody said. @returns whether they are somebody else's from now on. */
export function takenBack(before: boolean, octets: Uint8Array, stillRead = false): boolean {
  const kept = stillRead || lending.kept;
  lending.kept = before;
  if (spoils && !kept) octets.fill(spoilt);
  return kept;
}

/** Whoever keeps octets and does not say so is found out at once. For tests. */
const spoils = process.env["AMBIENTD_SPOIL_LENT"] === "1";
const spoilt = 0xdb;
