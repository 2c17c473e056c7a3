/** Lists that are kept in order. */

/** The first place in a sorted list whose item does not come before this one: where it stands, or belongs. */
export function placeOf<T>(item: T, sorted: readonly T[], comesBefore: (one: T, other: T) => boolean): number {
  let [from, to] = [0, sorted.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    const other = sorted[middle];
    if (other !== undefined && comesBefore(other, item)) from = middle + 1;
    else to = middle;
  }
  return from;
}
