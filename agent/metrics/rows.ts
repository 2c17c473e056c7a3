/**
 * What a worker reports of its metrics: increments since its last report, so that a worker that dies takes nothing back, and gauges as
 * they are. Compact: a series of traffic is named once, and from then on by its number.
 */
import type { MetricName } from "./catalogue.ts";

/** One slice of a report. */
export interface MetricRows {
  /** Series that have not been named before: number and label values in the order of `trafficLabelNames`. */
  readonly named: readonly (readonly [id: number, labels: readonly string[]])[];
  /** Per series {@link perSeries} numbers: its own, then increments of opened, closed, failed, received bytes, sent bytes. */
  readonly traffic: Float64Array;
  /** Numbers that are not used any more. */
  readonly forgotten: readonly number[];
  readonly counters: readonly CounterRow[];
  readonly gauges: readonly GaugeRow[];
  readonly histograms: readonly HistogramRow[];
  readonly summaries: readonly SummaryRow[];
}

/** `value`: the increment. */
export interface CounterRow {
  readonly name: MetricName;
  readonly labels: readonly string[];
  readonly value: number;
}

export interface GaugeRow {
  readonly name: MetricName;
  readonly labels: readonly string[];
  readonly value: number;
}

/** Increments, of each bucket by itself (not cumulative) and the one beyond the last. */
export interface HistogramRow {
  readonly name: MetricName;
  readonly labels: readonly string[];
  readonly buckets: readonly number[];
  readonly sum: number;
}

/** Quantiles of the time since the last report. */
export interface SummaryRow {
  readonly name: MetricName;
  readonly labels: readonly string[];
  readonly quantiles: readonly (readonly [quantile: string, value: number])[];
}

export const perSeries = 6;

/** A report without anything in it. */
export const noRows: MetricRows = {
  named: [],
  traffic: new Float64Array(0),
  forgotten: [],
  counters: [],
  gauges: [],
  histograms: [],
  summaries: [],
};
