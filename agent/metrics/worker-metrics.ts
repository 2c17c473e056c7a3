/**
 * What one worker counts. Connections cost a look-up when they open and when they end; their bytes are read off the relays' own counters
 * once a second, of those alone that have carried any since; a report is made in slices, between which connections are served.
 */
import { closeReason } from "../../core/decision/close-reasons.ts";
import type { Clock } from "../../core/base/clock.ts";
import type { CloseRecord } from "../connection/close-record.ts";
import type { Connection } from "../connection/connection.ts";
import { isEarly } from "../connection/early.ts";
import type { FromWorker } from "../worker-messages.ts";
import { Counters } from "./counters.ts";
import { EventLoopWatch } from "./event-loop.ts";
import { noRows, type GaugeRow, type MetricRows } from "./rows.ts";
import { RequestSeries } from "./request-series.ts";
import { TrafficSeries, type Series } from "./traffic-series.ts";
import { reporterOf } from "./traffic-labels.ts";

export interface WorkerMetricsOptions {
  readonly clock: Clock;
  readonly worker: number;
  readonly send: (message: FromWorker) => void;
  /** What is there at the moment, and counters that others keep: asked at each report. */
  readonly look?: (counters: Counters) => readonly GaugeRow[];
  /** Default 10,000. */
  readonly mostSeries?: number;
}

/** An open connection, and how many of its bytes have been counted. */
interface Meter {
  readonly series: Series;
  received: number;
  sent: number;
}

export class WorkerMetrics {
  /** For whatever is counted by name: DNS, revocation. */
  readonly counters = new Counters();
  /** Requests that were observed in passing. */
  readonly requests = new RequestSeries();
  readonly #options: WorkerMetricsOptions;
  readonly #series: TrafficSeries;
  readonly #meters = new Map<Connection, Meter>();
  /** Those that have carried something since they were last read. */
  #moved = new Set<Connection>();
  readonly #loop: EventLoopWatch;
  #overflows = 0;
  #ticks = 0;
  #reading = false;
  /** A connection has begun or ended, or carried something, since somebody asked. */
  #hasMoved = false;

  constructor(options: WorkerMetricsOptions) {
    this.#options = options;
    this.#series = new TrafficSeries(options.mostSeries);
    this.#loop = new EventLoopWatch(String(options.worker));
  }

  /** Bytes begin to flow. */
  opened(connection: Connection): void {
    const series = this.#series.of(connection.facts, "-", this.#options.clock.nowMs());
    series.opened += 1;
    series.users += 1;
    this.#hasMoved = true;
    this.#meters.set(connection, { series, received: 0, sent: 0 });
  }

  /** The first bytes since it was last read. */
  moved(connection: Connection): void {
    this.#hasMoved = true;
    this.#moved.add(connection);
  }

  /** It is over, whether or not it was ever open. */
  closed(connection: Connection, record: CloseRecord): void {
    const { facts, reason } = record;
    const nowMs = this.#options.clock.nowMs();
    this.#hasMoved = true;
    const { flag } = closeReason(reason);
    const reporter = reporterOf(facts.direction);
    const meter = this.#meters.get(connection);
    const early = meter === undefined && isEarly(record);
    const final = meter !== undefined && flag === "-" ? meter.series : this.#series.of(facts, flag, nowMs);
    if (meter !== undefined) {
      this.#meters.delete(connection);
      this.#moved.delete(connection);
      meter.series.users -= 1;
      meter.series.usedMs = nowMs;
      const outbound = facts.direction === "outbound";
      count(
        meter,
        outbound ? record.bytesSent : record.bytesReceived,
        outbound ? record.bytesReceived : record.bytesSent,
      );
    } else if (!early) this.#series.of(facts, "-", nowMs).opened += 1;
    if (!early) final.closed += 1;
    if (flag !== "-") final.failed += 1;
    this.counters.count("ambientd_connections_ended", [reporter, reason]);
    if (flag === "CERT_REVOKED") this.counters.count("istio_crl_policy_rejections", [reporter]);
    if (facts.retries !== undefined && facts.retries > 0) {
      this.counters.count("ambientd_connection_retries", [facts.retryReason ?? reason], facts.retries);
    }
  }

  /** Whether a connection has begun or ended, or carried something, since the last call; as of the last tick. */
  takeMoved(): boolean {
    const moved = this.#hasMoved;
    this.#hasMoved = false;
    return moved;
  }

  /** Called about once a second. */
  tick(nowMs: number): void {
    this.#ticks += 1;
    if (this.#ticks % ticksPerSweep === 0) {
      this.#series.sweep(nowMs);
      this.requests.sweep(nowMs);
    }
    if (this.#moved.size > 0) void this.#readMoved();
  }

  /** Answers with `metrics`, in one message or several. @param reset another scrape's time begins now. */
  async report(id: number, reset: boolean): Promise<void> {
    const { send } = this.#options;
    await this.#readMoved();
    for (const slice of this.#series.take()) {
      send({ kind: "metrics", id, rows: { ...noRows, ...slice }, last: false });
      await nextTurn();
    }
    for (const histograms of this.requests.take()) {
      send({ kind: "metrics", id, rows: { ...noRows, histograms }, last: false });
      await nextTurn();
    }
    send({ kind: "metrics", id, rows: this.#rest(reset), last: true });
  }

  close(): void {
    this.#loop.close();
  }

  /** Takes over what relays have counted, in slices: there may be very many. */
  async #readMoved(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    const moved = this.#moved;
    this.#moved = new Set();
    let read = 0;
    for (const connection of moved) {
      const meter = this.#meters.get(connection);
      const { state } = connection;
      if (meter !== undefined && "relay" in state) {
        state.relay.hasMoved = false;
        count(meter, state.relay.forward, state.relay.backward);
      }
      read += 1;
      if (read % perSlice === 0) await nextTurn();
    }
    this.#reading = false;
  }

  #rest(reset: boolean): MetricRows {
    const gauges = this.#options.look?.(this.counters) ?? [];
    const summary = this.#loop.take(this.counters, reset);
    const overflows = this.#series.overflows + this.requests.overflows;
    this.counters.count("ambientd_metrics_series_overflows", [], overflows - this.#overflows);
    this.#overflows = overflows;
    return { ...noRows, ...this.counters.take(), gauges, summaries: [summary] };
  }
}

/** @param received all bytes so far from client to server. @param sent and back. */
function count(meter: Meter, received: number, sent: number): void {
  meter.series.received += received - meter.received;
  meter.series.sent += sent - meter.sent;
  meter.received = received;
  meter.sent = sent;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const perSlice = 2_000;
const ticksPerSweep = 60;
