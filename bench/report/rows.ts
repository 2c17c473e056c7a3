/** One run as data: what `--json` writes. */
import { figures } from "../figures.ts";
import { ratioOf, spreadOf } from "../measure/statistics.ts";
import type { SideName } from "../side.ts";

export interface Row {
  /** Its id in the catalogue. */
  readonly figure: string;
  readonly side: SideName;
  readonly unit: string;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** This side's median in terms of each other side's of the same run. */
  readonly vs: Partial<Record<SideName, number>>;
}

/** A figure's values at one side, one for each round. */
export interface Samples {
  readonly figure: string;
  readonly side: SideName;
  /** Of a curve's point: how many there were of what grows. */
  readonly n?: number;
  readonly values: readonly number[];
}

/** In the catalogue's order, then in that of the samples; without those of curves. */
export function rowsOf(samples: readonly Samples[]): Row[] {
  return figures.flatMap(({ id, unit }) => {
    const measured = samples
      .filter(({ figure, n }) => figure === id && n === undefined)
      .flatMap(({ side, values }) => {
        const spread = spreadOf(values);
        return spread === undefined ? [] : [{ side, spread }];
      });
    return measured.map(({ side, spread }) => {
      const vs: Partial<Record<SideName, number>> = {};
      for (const other of measured) {
        const found = other.side === side ? undefined : ratioOf(spread.median, other.spread.median);
        if (found !== undefined) vs[other.side] = found;
      }
      return { figure: id, side, unit, ...spread, vs };
    });
  });
}
