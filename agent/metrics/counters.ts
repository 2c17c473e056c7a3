/** Counters and histograms by name and labels, kept as increments until they are taken. One per thread. */
import { metricFamily, type MetricName } from "./catalogue.ts";
import type { CounterRow, HistogramRow } from "./rows.ts";

interface Cell {
  readonly name: MetricName;
  readonly labels: readonly string[];
  value: number;
  /** Of a histogram. */
  readonly buckets: number[] | undefined;
}

export class Counters {
  readonly #cells = new Map<string, Cell>();

  /** @param labels values in the order of the catalogue. From small sets only: they are kept. */
  count(name: MetricName, labels: readonly string[] = [], by = 1): void {
    if (by > 0) this.#cell(name, labels).value += by;
  }

  /** One observation of a histogram, in the unit of its name. */
  observe(name: MetricName, labels: readonly string[], value: number): void {
    const cell = this.#cell(name, labels);
    const bounds = metricFamily(name).buckets ?? [];
    const at = bounds.findIndex((bound) => value <= bound);
    const { buckets } = cell;
    if (buckets === undefined) return;
    buckets[at < 0 ? bounds.length : at]! += 1;
    cell.value += value;
  }

  /** What has been counted since the last time. */
  take(): { counters: CounterRow[]; histograms: HistogramRow[] } {
    const counters: CounterRow[] = [];
    const histograms: HistogramRow[] = [];
    for (const cell of this.#cells.values()) {
      const { name, labels, value, buckets } = cell;
      if (buckets !== undefined) {
        if (buckets.every((count) => count === 0)) continue;
        histograms.push({ name, labels, buckets: [...buckets], sum: value });
        buckets.fill(0);
      } else {
        if (value === 0) continue;
        counters.push({ name, labels, value });
      }
      cell.value = 0;
    }
    return { counters, histograms };
  }

  #cell(name: MetricName, labels: readonly string[]): Cell {
    const key = labels.length === 0 ? name : `${name}\n${labels.join("\n")}`;
    const known = this.#cells.get(key);
    if (known !== undefined) return known;
    const bounds = metricFamily(name).buckets;
    const buckets = bounds === undefined ? undefined : new Array<number>(bounds.length + 1).fill(0);
    const cell: Cell = { name, labels, value: 0, buckets };
    this.#cells.set(key, cell);
    return cell;
  }
}
