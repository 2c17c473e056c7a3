/**
 * The totals of the whole agent, kept by its main thread: workers report increments, so that one that dies, and a series that nobody
 * uses any more, never let a counter go back.
 */
import { metricFamily, type MetricName } from "./catalogue.ts";
import { labelText } from "./exposition.ts";
import {
  perSeries,
  type CounterRow,
  type GaugeRow,
  type HistogramRow,
  type MetricRows,
  type SummaryRow,
} from "./rows.ts";
import { overflowRequestLabels } from "./request-labels.ts";
import { mostRequestSeries } from "./request-series.ts";
import { overflowLabels } from "./traffic-labels.ts";
import { mostSeries } from "./traffic-series.ts";

/** One series of traffic. */
export interface Total {
  readonly labels: readonly string[];
  /** `{reporter="source",…}` */
  readonly text: string;
  opened: number;
  closed: number;
  failed: number;
  received: number;
  sent: number;
  /** Workers that may still add to it. */
  workers: number;
}

export interface Value {
  readonly text: string;
  value: number;
}

export interface Histogram {
  readonly labels: readonly string[];
  readonly buckets: number[];
  sum: number;
  /** It has been added to since somebody last looked for what is idle. */
  isUsed: boolean;
}

/** A gauge or a summary is the last word of the thread that said it. */
interface LastWords {
  readonly gauges: readonly GaugeRow[];
  readonly summaries: readonly SummaryRow[];
}

export class Ledger {
  readonly #most: number;
  readonly #mostRequests: number;
  readonly #traffic = new Map<string, Total>();
  /** What a worker's numbers stand for. */
  readonly #numbered = new Map<number, Map<number, Total>>();
  readonly #counters = new Map<MetricName, Map<string, Value>>();
  readonly #histograms = new Map<MetricName, Map<string, Histogram>>();
  readonly #lastWords = new Map<number, LastWords>();

  /** @param most series of traffic kept, beside the ones for what is too much. @param mostRequests the same of requests. */
  constructor(most = mostSeries, mostRequests = mostRequestSeries) {
    this.#most = most;
    this.#mostRequests = mostRequests;
  }

  /** @param worker its number; -1: the main thread. */
  add(worker: number, rows: MetricRows): void {
    const numbered = this.#numbered.get(worker) ?? new Map<number, Total>();
    this.#numbered.set(worker, numbered);
    for (const [id, labels] of rows.named) numbered.set(id, this.#use(labels));
    const { traffic } = rows;
    for (let at = 0; at + perSeries <= traffic.length; at += perSeries) {
      const total = numbered.get(traffic[at]!);
      if (total === undefined) continue;
      total.opened += traffic[at + 1]!;
      total.closed += traffic[at + 2]!;
      total.failed += traffic[at + 3]!;
      total.received += traffic[at + 4]!;
      total.sent += traffic[at + 5]!;
    }
    for (const id of rows.forgotten) {
      const total = numbered.get(id);
      if (total !== undefined) total.workers -= 1;
      numbered.delete(id);
    }
    for (const row of rows.counters) this.#count(row);
    for (const row of rows.histograms) this.#observe(row);
    if (rows.gauges.length + rows.summaries.length > 0) this.#lastWords.set(worker, rows);
  }

  /** The worker is gone: its successor begins to number anew. What it had counted stays. */
  forget(worker: number): void {
    for (const total of this.#numbered.get(worker)?.values() ?? []) total.workers -= 1;
    this.#numbered.delete(worker);
    this.#lastWords.delete(worker);
  }

  get traffic(): ReadonlyMap<string, Total> {
    return this.#traffic;
  }

  counter(name: MetricName): Iterable<Value> {
    return this.#counters.get(name)?.values() ?? [];
  }

  histogram(name: MetricName): Iterable<Histogram> {
    return this.#histograms.get(name)?.values() ?? [];
  }

  /** The same labels of several threads are added up. */
  gauge(name: MetricName): Iterable<Value> {
    const values = new Map<string, Value>();
    for (const { gauges } of this.#lastWords.values()) {
      for (const row of gauges) if (row.name === name) addTo(values, row);
    }
    return values.values();
  }

  *summary(name: MetricName): Generator<SummaryRow> {
    for (const { summaries } of this.#lastWords.values()) for (const row of summaries) if (row.name === name) yield row;
  }

  /** Labels of the series that no worker uses, and of requests of which there have been none since the last time that this was asked. */
  takeIdle(): (readonly string[])[] {
    const idle: (readonly string[])[] = [];
    for (const { workers, labels } of this.#traffic.values()) if (workers <= 0) idle.push(labels);
    for (const histogram of this.histogram(requestDurations)) {
      if (!histogram.isUsed) idle.push(histogram.labels);
      histogram.isUsed = false;
    }
    return idle;
  }

  /** Drops the series that are idle and that `isGone` says nothing in the mesh can use again. */
  sweep(isGone: (labels: readonly string[]) => boolean): void {
    for (const [key, { workers, labels }] of this.#traffic) {
      if (workers <= 0 && isGone(labels)) this.#traffic.delete(key);
    }
    const requests = this.#histograms.get(requestDurations) ?? noHistograms;
    for (const [key, { isUsed, labels }] of requests) if (!isUsed && isGone(labels)) requests.delete(key);
  }

  #use(labels: readonly string[]): Total {
    const key = labels.join("\n");
    let total = this.#traffic.get(key);
    if (total === undefined && this.#traffic.size >= this.#most) {
      const others = overflowLabels(labels);
      if (others.join("\n") !== key) {
        this.#count({ name: "ambientd_metrics_series_overflows", labels: [], value: 1 });
        return this.#use(others);
      }
    }
    if (total === undefined) {
      const text = labelText(metricFamily("istio_tcp_connections_opened").labels, labels);
      total = { labels, text, opened: 0, closed: 0, failed: 0, received: 0, sent: 0, workers: 0 };
      this.#traffic.set(key, total);
    }
    total.workers += 1;
    return total;
  }

  #count(row: CounterRow): void {
    const ofName = this.#counters.get(row.name) ?? new Map<string, Value>();
    this.#counters.set(row.name, ofName);
    addTo(ofName, row);
  }

  #observe(row: HistogramRow): void {
    const { name, labels, buckets, sum } = row;
    const ofName = this.#histograms.get(name) ?? new Map<string, Histogram>();
    this.#histograms.set(name, ofName);
    const key = labels.join("\n");
    const known = ofName.get(key);
    if (known === undefined) {
      const others = name === requestDurations ? overflowRequestLabels(labels) : labels;
      const isOneTooMany = name === requestDurations && ofName.size >= this.#mostRequests && others.join("\n") !== key;
      if (!isOneTooMany) return void ofName.set(key, { labels, buckets: [...buckets], sum, isUsed: true });
      this.#count({ name: "ambientd_metrics_series_overflows", labels: [], value: 1 });
      return this.#observe({ ...row, labels: others });
    }
    known.isUsed = true;
    known.sum += sum;
    buckets.forEach((count, at) => (known.buckets[at] = (known.buckets[at] ?? 0) + count));
  }
}

function addTo(values: Map<string, Value>, { name, labels, value }: CounterRow | GaugeRow): void {
  const text = labelText(metricFamily(name).labels, labels);
  const known = values.get(text);
  if (known === undefined) values.set(text, { text, value });
  else known.value += value;
}

const requestDurations = "istio_request_duration_milliseconds";
const noHistograms = new Map<string, Histogram>();
