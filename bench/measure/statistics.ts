/** What is said of a figure's rounds. */

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** Of one figure at one side, a value a round; undefined where there is none. An even number's median lies between the two in the middle. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  const [min] = sorted;
  const max = sorted.at(-1);
  if (upper === undefined || lower === undefined || min === undefined || max === undefined) return undefined;
  return { min, median: (lower + upper) / 2, max };
}

/** How often `of` goes into `value`; undefined where that says nothing (nothing to compare with, or not on the same side of nought). */
export function ratioOf(value: number, of: number | undefined): number | undefined {
  return of === undefined || of <= 0 || value < 0 ? undefined : value / of;
}
