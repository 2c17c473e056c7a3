/** Randomness as an argument: a function that yields numbers in [0, 1). */
export type Random = () => number;

/** For everything that need not be secret. Keys, serials and trace ids come from node:crypto. */
export const systemRandom: Random = Math.random;

/** A repeatable sequence (mulberry32) for tests and simulations. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
