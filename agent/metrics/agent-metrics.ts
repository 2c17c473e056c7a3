/** Metrics on the main thread: its own figures, the workers' put together, and the port where they are asked for. */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { CertificateRow } from "../../control/client/certificates/manager.ts";
import type { XdsStatus } from "../../control/client/xds-session.ts";
import type { PodRow } from "../pods.ts";
import type { CrlStatus } from "../revocation/crl-file.ts";
import type { FromWorker, Gate, ToWorker } from "../worker-messages.ts";
import { Collector } from "./collector.ts";
import { Counters } from "./counters.ts";
import { EventLoopWatch } from "./event-loop.ts";
import type { Format } from "./exposition.ts";
import { Gone } from "./gone.ts";
import { Ledger } from "./ledger.ts";
import { ProcessWatch } from "./process-metrics.ts";
import { noRows, type GaugeRow } from "./rows.ts";
import { render } from "./scrape.ts";
import { StatsServer } from "./server.ts";

export interface AgentMetricsOptions {
  /** 15020; 0: any that is free. */
  readonly port: number;
  /** Version that `istio_build` names. */
  readonly tag: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly broadcast: (message: ToWorker) => void;
  readonly sources: MetricSources;
}

/** Asked at each scrape. */
export interface MetricSources {
  readonly workers: () => number;
  /** How often a worker has been replaced. */
  readonly restarts: () => number;
  readonly pods: () => readonly PodRow[];
  readonly certificates: () => readonly CertificateRow[];
  readonly gates: () => readonly Gate[];
  /** undefined: nobody says what is revoked. */
  readonly revocation?: () => CrlStatus | undefined;
  readonly xds: () => XdsStatus | undefined;
  readonly workloads: () => Iterable<MeshWorkload>;
  /** Log lines of this thread that were given up. */
  readonly droppedLines: () => number;
}

export class AgentMetrics {
  /** For what the main thread counts by name. */
  readonly counters = new Counters();
  readonly #options: AgentMetricsOptions;
  readonly #ledger = new Ledger();
  readonly #collector: Collector;
  readonly #server: StatsServer;
  readonly #loop = new EventLoopWatch("main");
  readonly #process = new ProcessWatch();
  readonly #gone = new Gone();
  readonly #reported = { restarts: 0, dropped: 0 };
  #served = new Set<string>();
  #cancelCollect: () => void = () => {};
  #sweepMs: number;

  constructor(options: AgentMetricsOptions) {
    const { clock, log, port, broadcast, sources } = options;
    this.#options = options;
    this.#sweepMs = clock.nowMs() + sweepEveryMs;
    this.#collector = new Collector({ clock, ledger: this.#ledger, broadcast, workers: sources.workers });
    this.#server = new StatsServer({
      port,
      clock,
      log,
      scrape: (format) => this.#scrape(format),
      onRefused: () => this.counters.count("ambientd_scrapes_refused"),
    });
    this.#collectLater();
  }

  /** The port it is listening on. */
  get port(): number | undefined {
    return this.#server.port;
  }

  receive(worker: number, { id, rows, last }: Extract<FromWorker, { readonly kind: "metrics" }>): void {
    this.#collector.receive(worker, id, rows, last);
  }

  workerLost(worker: number): void {
    this.#collector.lost(worker);
  }

  /** To be called whenever a pod may have begun or ceased to be served. */
  podsChanged(): void {
    const served = new Set(this.#options.sources.pods().flatMap(({ uid, state }) => (state === "Up" ? [uid] : [])));
    this.counters.count("workload_manager_proxies_started", [], missingIn(this.#served, served));
    this.counters.count("workload_manager_proxies_stopped", [], missingIn(served, this.#served));
    this.#served = served;
  }

  close(): void {
    this.#cancelCollect();
    this.#server.close();
    this.#loop.close();
  }

  async *#scrape(format: Format): AsyncGenerator<string> {
    await this.#collector.collect(true);
    await this.#addOwn();
    yield* render(this.#ledger, format);
  }

  async #addOwn(): Promise<void> {
    const { sources } = this.#options;
    const restarts = sources.restarts();
    const dropped = sources.droppedLines();
    this.counters.count("ambientd_worker_restarts", [], restarts - this.#reported.restarts);
    this.counters.count("ambientd_log_lines_dropped", [], dropped - this.#reported.dropped);
    this.#reported.restarts = restarts;
    this.#reported.dropped = dropped;
    const gauges = [...(await this.#process.look(this.counters)), ...this.#gauges()];
    const summary = this.#loop.take(this.counters, true);
    this.#ledger.add(mainThread, { ...noRows, ...this.counters.take(), gauges, summaries: [summary] });
  }

  *#gauges(): Generator<GaugeRow> {
    const { tag, sources } = this.#options;
    yield { name: "istio_build", labels: ["ztunnel", tag], value: 1 };
    yield { name: "ambientd_metrics_series", labels: [], value: this.#ledger.traffic.size };
    const pods = sources.pods();
    for (const [name, state] of podGauges) {
      yield { name, labels: [], value: pods.filter((pod) => pod.state === state).length };
    }
    const certificates = sources.certificates();
    const held = certificates.flatMap(({ identity, held }) => (held === undefined ? [] : [{ identity, ...held }]));
    yield { name: "ambientd_certificates", labels: ["available"], value: held.length };
    yield { name: "ambientd_certificates", labels: ["missing"], value: certificates.length - held.length };
    for (const { identity, notAfter } of held) {
      const value = Math.round(notAfter / 1_000);
      yield { name: "ambientd_certificate_expiration_timestamp_seconds", labels: [identity], value };
    }
    for (const { name: gate, pending } of sources.gates()) {
      yield { name: "ambientd_ready", labels: [gate], value: pending === undefined ? 1 : 0 };
    }
    const revocation = sources.revocation?.();
    if (revocation !== undefined) yield* revocationGauges(revocation, this.#options.clock.wallMs());
    const xds = sources.xds();
    yield { name: "ambientd_xds_connected", labels: [], value: xds?.phase === "live" ? 1 : 0 };
    for (const { typeUrl, rejected } of xds?.types ?? []) {
      yield { name: "ambientd_xds_rejected_resources", labels: [typeUrl], value: rejected.length };
    }
  }

  #collectLater(): void {
    const { clock, sources } = this.#options;
    this.#cancelCollect = clock.after(collectEveryMs, () => {
      this.#collectLater();
      void this.#collector.collect(false);
      if (clock.nowMs() < this.#sweepMs) return;
      this.#sweepMs = clock.nowMs() + sweepEveryMs;
      void this.#gone.sweep(this.#ledger, sources.workloads());
    });
  }
}

function* revocationGauges({ revoked, problem, nextUpdateMs }: CrlStatus, wallMs: number): Generator<GaugeRow> {
  yield { name: "ambientd_crl_revoked_certificates", labels: [], value: revoked };
  const isOld = nextUpdateMs !== undefined && nextUpdateMs < wallMs;
  for (const one of ["missing", "unreadable", "malformed", "forged", "out-of-date"] as const) {
    const isThere = one === "out-of-date" ? isOld : one === problem;
    yield { name: "ambientd_crl_problem", labels: [one], value: isThere ? 1 : 0 };
  }
  if (nextUpdateMs === undefined) return;
  yield { name: "ambientd_crl_next_update_timestamp_seconds", labels: [], value: Math.round(nextUpdateMs / 1_000) };
}

/** How many of `others` are not in `some`. */
function missingIn(some: ReadonlySet<string>, others: ReadonlySet<string>): number {
  let missing = 0;
  for (const one of others) if (!some.has(one)) missing += 1;
  return missing;
}

const mainThread = -1;
const podGauges = [
  ["workload_manager_active_proxy_count", "Up"],
  ["workload_manager_pending_proxy_count", "Pending"],
] as const;
/** A worker that dies takes no more of the counts with it. */
const collectEveryMs = 10_000;
const sweepEveryMs = 600_000;
