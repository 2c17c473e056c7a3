/**
 * A worker's series of traffic: one for each set of labels, found once per connection and then plain numbers. Labels are worked out once
 * for each combination of workloads, service, identities and outcome, not for each connection.
 */
import { oncePerWord } from "../../core/base/memo.ts";
import type { ResponseFlag } from "../../core/decision/close-reasons.ts";
import { wordOf } from "../../core/protocol/wds/compact-workload.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { perSeries, type MetricRows } from "./rows.ts";
import { overflowLabels, trafficLabels } from "./traffic-labels.ts";

/** Increments since they were last taken. */
export interface Series {
  readonly id: number;
  readonly labels: readonly string[];
  opened: number;
  closed: number;
  failed: number;
  /** Bytes from client to server. */
  received: number;
  /** Bytes from server to client. */
  sent: number;
  /** Connections that are counted here as they go. */
  users: number;
  /** Monotonic milliseconds; when a connection last began or ended. */
  usedMs: number;
  /** The main thread knows what its number stands for. */
  told: boolean;
}

export class TrafficSeries {
  readonly #most: number;
  readonly #byLabels = new Map<string, Series>();
  /** The same by combination: a shortcut that may be lost at any time. */
  #byCombination = new Map<string, Series>();
  /** By what control says of them: as long as that is the same, the number is. */
  readonly #numberOf: (object: object) => number;
  #lastObject = 0;
  #lastId = 0;
  #forgotten: number[] = [];
  /** Times there was no room for one more. */
  overflows = 0;

  /** @param most series kept, beside the ones for what is too much. */
  constructor(most = mostSeries) {
    this.#most = most;
    this.#numberOf = oncePerWord(() => (this.#lastObject += 1), wordOf);
  }

  get size(): number {
    return this.#byLabels.size;
  }

  of(facts: ConnectionFacts, flag: ResponseFlag, nowMs: number): Series {
    const combination = this.#combination(facts, flag);
    const known = combination === undefined ? undefined : this.#byCombination.get(combination);
    if (known !== undefined) {
      known.usedMs = nowMs;
      return known;
    }
    const series = this.#find(trafficLabels(facts, flag), nowMs);
    if (combination === undefined) return series;
    if (this.#byCombination.size >= mostCombinations) this.#byCombination = new Map();
    this.#byCombination.set(combination, series);
    return series;
  }

  /** All that has changed, in slices that each take little time. */
  *take(): Generator<Pick<MetricRows, "named" | "traffic" | "forgotten">> {
    let named: [number, readonly string[]][] = [];
    let traffic = new Float64Array(perSlice * perSeries);
    let rows = 0;
    for (const series of this.#byLabels.values()) {
      const { id, opened, closed, failed, received, sent } = series;
      if (opened + closed + failed + received + sent === 0) continue;
      if (!series.told) named.push([id, series.labels]);
      series.told = true;
      traffic.set([id, opened, closed, failed, received, sent], rows * perSeries);
      series.opened = series.closed = series.failed = series.received = series.sent = 0;
      rows += 1;
      if (rows < perSlice) continue;
      yield { named, traffic, forgotten: [] };
      named = [];
      traffic = new Float64Array(perSlice * perSeries);
      rows = 0;
    }
    const forgotten = this.#forgotten;
    this.#forgotten = [];
    yield { named, traffic: traffic.slice(0, rows * perSeries), forgotten };
  }

  /** Forgets what has not been used for long: the main thread keeps the totals. Called once a minute or so. */
  sweep(nowMs: number): void {
    for (const [key, series] of this.#byLabels) {
      const { opened, closed, failed, received, sent } = series;
      if (series.users > 0 || nowMs - series.usedMs < unusedMs) continue;
      if (opened + closed + failed + received + sent > 0) continue;
      this.#byLabels.delete(key);
      if (series.told) this.#forgotten.push(series.id);
      this.#byCombination.clear();
    }
  }

  #find(labels: readonly string[], nowMs: number): Series {
    const key = labels.join("\n");
    const known = this.#byLabels.get(key);
    if (known !== undefined) {
      known.usedMs = nowMs;
      return known;
    }
    if (this.#byLabels.size < this.#most) return this.#add(key, labels, nowMs);
    this.overflows += 1;
    const others = overflowLabels(labels);
    const otherKey = others.join("\n");
    const other = this.#byLabels.get(otherKey) ?? this.#add(otherKey, others, nowMs);
    other.usedMs = nowMs;
    return other;
  }

  #add(key: string, labels: readonly string[], nowMs: number): Series {
    this.#lastId += 1;
    const series: Series = {
      id: this.#lastId,
      labels,
      opened: 0,
      closed: 0,
      failed: 0,
      received: 0,
      sent: 0,
      users: 0,
      usedMs: nowMs,
      told: false,
    };
    this.#byLabels.set(key, series);
    return series;
  }

  /** undefined where a stranger's own words are among the labels: no two need be alike. */
  #combination(facts: ConnectionFacts, flag: ResponseFlag): string | undefined {
    if (facts.sourceBaggage !== undefined && facts.sourceWorkload === undefined) return undefined;
    const { direction, protocol, sourceIdentity = "", destinationIdentity = "" } = facts;
    const source = facts.sourceWorkload && this.#numberOf(facts.sourceWorkload);
    const destination = facts.destinationWorkload && this.#numberOf(facts.destinationWorkload);
    const service = facts.service && this.#numberOf(facts.service);
    return `${direction} ${protocol} ${flag} ${source} ${destination} ${service} ${sourceIdentity} ${destinationIdentity}`;
  }
}

export const mostSeries = 10_000;
const mostCombinations = 20_000;
/** Well below a millisecond. */
const perSlice = 500;
const unusedMs = 600_000;
