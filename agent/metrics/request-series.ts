/**
 * A worker's series of requests: one histogram of durations for each set of labels, which is the number of requests as well. Labels are
 * worked out once for each connection that has requests, and one series is found with two comparisons as long as its outcome stays.
 */
import type { ConnectionFacts } from "../connection/close-record.ts";
import type { SniffedProtocol } from "../sniff/conversation.ts";
import { metricFamily } from "./catalogue.ts";
import { otherEnds, outcomeLabels, requestEnds, type RequestEnds } from "./request-labels.ts";
import type { HistogramRow } from "./rows.ts";

interface Cell {
  readonly labels: readonly string[];
  /** Since they were last taken. */
  readonly buckets: number[];
  sum: number;
  count: number;
}

export interface RequestGroup {
  /** @param status 0: no answer. @param grpcStatus -1: none. */
  observe(protocol: SniffedProtocol, status: number, grpcStatus: number, durationMs: number): void;
  /** The connection is over, or not listened to any more. */
  release(nowMs: number): void;
}

export class RequestSeries {
  readonly #most: number;
  readonly #groups = new Map<string, Group>();
  /** Where there is no room for one more. */
  #others: Group | undefined;
  #size = 0;
  /** Times there was no room for one more. */
  overflows = 0;

  /** @param most series kept, beside the ones for what is too much. */
  constructor(most = mostRequestSeries) {
    this.#most = most;
  }

  get size(): number {
    return this.#size;
  }

  /** For a connection that has requests; to be released when it is over. */
  use(facts: ConnectionFacts): RequestGroup {
    const ends = requestEnds(facts);
    const key = ends.join("\n");
    const known = this.#groups.get(key) ?? this.#add(key, ends);
    known.users += 1;
    return known;
  }

  /** All that has changed, in slices that each take little time. */
  *take(): Generator<HistogramRow[]> {
    let rows: HistogramRow[] = [];
    const groups = this.#others === undefined ? this.#groups.values() : [...this.#groups.values(), this.#others];
    for (const group of groups) {
      for (const cell of group.cells.values()) {
        if (cell.count === 0) continue;
        const { labels, buckets, sum } = cell;
        rows.push({ name: "istio_request_duration_milliseconds", labels, buckets: [...buckets], sum });
        buckets.fill(0);
        cell.sum = cell.count = 0;
      }
      if (rows.length < perSlice) continue;
      yield rows;
      rows = [];
    }
    if (rows.length > 0) yield rows;
  }

  /** Forgets what has not been used for long: the main thread keeps the totals. Called once a minute or so. */
  sweep(nowMs: number): void {
    for (const [key, group] of this.#groups) {
      if (group.users > 0 || nowMs - group.usedMs < unusedMs) continue;
      if ([...group.cells.values()].some(({ count }) => count > 0)) continue;
      this.#size -= group.ownCells;
      this.#groups.delete(key);
    }
  }

  /** @internal for Group. */
  mayGrow(): boolean {
    if (this.#size < this.#most) {
      this.#size += 1;
      return true;
    }
    this.overflows += 1;
    return false;
  }

  #add(key: string, ends: RequestEnds): Group {
    // A group has one series at least.
    if (this.#size >= this.#most) {
      this.overflows += 1;
      return (this.#others ??= new Group(otherEnds, this));
    }
    const group = new Group(ends, this);
    this.#groups.set(key, group);
    return group;
  }
}

/** What is alike but for protocol and outcome. */
class Group implements RequestGroup {
  readonly cells = new Map<number, Cell>();
  /** How many of the cells count as series of their own. */
  ownCells = 0;
  /** Connections that count here. */
  users = 0;
  /** Monotonic milliseconds; when a connection last ended. */
  usedMs = 0;
  readonly #ends: RequestEnds;
  readonly #series: RequestSeries;
  #lastKey = -1;
  #last: Cell | undefined;

  constructor(ends: RequestEnds, series: RequestSeries) {
    this.#ends = ends;
    this.#series = series;
  }

  observe(protocol: SniffedProtocol, status: number, grpcStatus: number, durationMs: number): void {
    const key = keyOf(protocol, status, grpcStatus);
    const cell = key === this.#lastKey && this.#last ? this.#last : this.#find(key, protocol, status, grpcStatus);
    let bucket = 0;
    while (bucket < bounds.length && durationMs > bounds[bucket]!) bucket += 1;
    cell.buckets[bucket]! += 1;
    cell.sum += durationMs;
    cell.count += 1;
  }

  release(nowMs: number): void {
    this.users -= 1;
    this.usedMs = nowMs;
  }

  #find(key: number, protocol: SniffedProtocol, status: number, grpcStatus: number): Cell {
    const found = this.cells.get(key) ?? this.#add(key, protocol, status, grpcStatus);
    this.#lastKey = key;
    this.#last = found;
    return found;
  }

  #add(key: number, protocol: SniffedProtocol, status: number, grpcStatus: number): Cell {
    if (this.ownCells < mostOutcomes && this.#series.mayGrow()) {
      this.ownCells += 1;
      return this.#cell(key, outcomeLabels(this.#ends, protocol, String(status), grpcStatus));
    }
    // Who answers with hundreds of codes has them put together, and takes no room from others.
    const hundreds = Math.floor(status / 100);
    const together = keyOf(protocol, hundreds, allTogether);
    return this.cells.get(together) ?? this.#cell(together, outcomeLabels(this.#ends, protocol, `${hundreds}xx`, -1));
  }

  #cell(key: number, labels: readonly string[]): Cell {
    const cell: Cell = { labels, buckets: new Array<number>(bounds.length + 1).fill(0), sum: 0, count: 0 };
    this.cells.set(key, cell);
    return cell;
  }
}

/** Protocol, status below 1,024 and gRPC status from -1 to 30 in one number. */
function keyOf(protocol: SniffedProtocol, status: number, grpcStatus: number): number {
  return (protocolNumbers[protocol] << 15) | (status << 5) | (grpcStatus + 1);
}

const protocolNumbers: Readonly<Record<SniffedProtocol, number>> = { http: 0, http2: 1, grpc: 2 };
/** In the place of a gRPC status. */
const allTogether = 30;
const bounds = metricFamily("istio_request_duration_milliseconds").buckets ?? [];
/** Each is some twenty lines of a scrape. */
export const mostRequestSeries = 2_000;
/** Protocols, codes and gRPC statuses of one pair of workloads. */
const mostOutcomes = 100;
const perSlice = 200;
const unusedMs = 600_000;
