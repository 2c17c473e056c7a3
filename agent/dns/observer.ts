/** What happens to queries, as it is counted (agent-wire 9.1: istio_dns_*). */
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { Counters } from "../metrics/counters.ts";

export interface DnsLabels {
  /** `A`, `SRV` …, or `other`: never what a client could choose freely. */
  readonly type: string;
  readonly protocol: DnsProtocol;
  /** Who asks; undefined while control has not described the pod. */
  readonly source: Pick<MeshWorkload, "canonicalName" | "canonicalRevision"> | undefined;
}

export type DnsProtocol = "udp" | "tcp";

export interface DnsObserver {
  /** A query was read. */
  requested(labels: DnsLabels): void;
  /** It was passed on. */
  forwarded(labels: DnsLabels): void;
  /** Its answer came, so many seconds later. */
  answered(labels: DnsLabels, seconds: number): void;
  /** None came. */
  failed(labels: DnsLabels): void;
}

export class CountingDnsObserver implements DnsObserver {
  readonly #counters: Pick<Counters, "count" | "observe">;

  constructor(counters: Pick<Counters, "count" | "observe">) {
    this.#counters = counters;
  }

  requested(labels: DnsLabels): void {
    this.#counters.count("istio_dns_requests", valuesOf(labels));
  }

  forwarded(labels: DnsLabels): void {
    this.#counters.count("istio_dns_upstream_requests", valuesOf(labels));
  }

  answered(labels: DnsLabels, seconds: number): void {
    this.#counters.observe("istio_dns_upstream_request_duration_seconds", valuesOf(labels), seconds);
  }

  failed(labels: DnsLabels): void {
    this.#counters.count("istio_dns_upstream_failures", valuesOf(labels));
  }
}

/** In the catalogue's order. */
function valuesOf({ type, protocol, source }: DnsLabels): string[] {
  return [type, protocol, source?.canonicalName || unknown, source?.canonicalRevision || unknown];
}

const unknown = "unknown";
