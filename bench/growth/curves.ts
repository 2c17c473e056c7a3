/** What a run measured at several sizes of one thing, and how it grows with them. */
import { figure as figureOf, figures } from "../figures.ts";
import { spreadOf, type Spread } from "../measure/statistics.ts";
import type { Row, Samples } from "../report/rows.ts";
import type { SideName } from "../side.ts";
import { exponentOf, lastDecade } from "./fit.ts";

export interface Curve {
  /** Its id in the catalogue. */
  readonly figure: string;
  readonly side: SideName;
  /** In the order of their sizes. */
  readonly points: readonly (Spread & { readonly n: number })[];
  /** Of the medians of the last decade; undefined where they don't tell one. @see exponentOf */
  readonly exponent: number | undefined;
}

/** In the catalogue's order. */
export function curvesOf(samples: readonly Samples[]): Curve[] {
  return figures.flatMap(({ id }) => {
    const sized = samples.filter(({ figure, n }) => figure === id && n !== undefined);
    return [...new Set(sized.map(({ side }) => side))].map((side): Curve => {
      const points = sized
        .filter((sample) => sample.side === side)
        .flatMap(({ n = 0, values }) => {
          const spread = spreadOf(values);
          return spread === undefined ? [] : [{ n, ...spread }];
        })
        .sort((one, other) => one.n - other.n);
      return {
        figure: id,
        side,
        points,
        exponent: exponentOf(lastDecade(points.map(({ n, median }) => ({ n, value: median })))),
      };
    });
  });
}

/** What is shown together: curves of one group of the catalogue. */
export interface CurveGroup {
  readonly name: string;
  /** All that any of them has, in growing order. */
  readonly sizes: readonly number[];
  /** Each curve with its median at each of those sizes, where it has one. */
  readonly lines: readonly { readonly curve: Curve; readonly medians: readonly (number | undefined)[] }[];
}

export function curveGroups(curves: readonly Curve[]): CurveGroup[] {
  return [...Map.groupBy(curves, ({ figure }) => figureOf(figure).group)].map(([name, own]) => {
    const sizes = [...new Set(own.flatMap(({ points }) => points.map(({ n }) => n)))].sort((one, other) => one - other);
    const mediansOf = ({ points }: Curve): (number | undefined)[] =>
      sizes.map((size) => points.find(({ n }) => n === size)?.median);
    return { name, sizes, lines: own.map((curve) => ({ curve, medians: mediansOf(curve) })) };
  });
}

/** A point as a row: with how many there were, and the exponent of the curve that it belongs to. */
export interface CurveRow extends Row {
  readonly n: number;
  readonly exponent: number | null;
}

export function curveRows(curves: readonly Curve[]): CurveRow[] {
  return curves.flatMap(({ figure, side, points, exponent = null }) => {
    const unit = figures.find(({ id }) => id === figure)?.unit ?? "";
    return points.map((point) => ({ figure, side, unit, ...point, exponent, vs: {} }));
  });
}
