/** With which power of n a cost grows. */

export interface Point {
  readonly n: number;
  readonly value: number;
}

/**
 * How a cost grows where it is large: the points of the last decade of n. What it costs to begin at all, which small ones show, would
 * make any growth look slower than it is.
 */
export function lastDecade(points: readonly Point[]): Point[] {
  const most = Math.max(...points.map(({ n }) => n));
  return points.filter(({ n }) => n * 10 >= most);
}

/**
 * The slope of a straight line through the points where both axes are logarithmic, by least squares: 0 is constant, 1 in proportion, 2 by
 * the square. Points at nought or below say nothing there. @returns undefined for fewer than three that do, or all of one n.
 */
export function exponentOf(points: readonly Point[]): number | undefined {
  const logs = points
    .filter(({ n, value }) => n > 0 && value > 0)
    .map(({ n, value }) => [Math.log(n), Math.log(value)]);
  if (logs.length < 3) return undefined;
  const mean = (axis: 0 | 1): number => logs.reduce((sum, point) => sum + (point[axis] ?? 0), 0) / logs.length;
  const [x, y] = [mean(0), mean(1)];
  let [together, across] = [0, 0];
  for (const [atX = 0, atY = 0] of logs) {
    together += (atX - x) * (atY - y);
    across += (atX - x) ** 2;
  }
  return across === 0 ? undefined : together / across;
}
