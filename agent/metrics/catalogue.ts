/**
 * Every metric of the agent: what it is called, what it says, and by which labels. docs/metrics.md is rendered from here, and nothing
 * is exposed that is not here. Names and labels of istio_*, workload_manager_* and process_* are the field's (agent-wire 9.1).
 */

export interface MetricFamily {
  /** Counters without the `_total` of their samples. */
  readonly type: "counter" | "gauge" | "histogram" | "summary";
  readonly help: string;
  readonly labels: readonly string[];
  /** `core` never changes; `ours` no other agent has. */
  readonly stability: "core" | "unstable" | "ours";
  /** Upper bounds of a histogram's buckets, ascending, without +Inf. */
  readonly buckets?: readonly number[];
}

export type MetricName = keyof typeof metrics;

/** The entry as plain data, whatever the name. */
export function metricFamily(name: MetricName): MetricFamily {
  return metrics[name];
}

export const trafficLabelNames = [
  "reporter",
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "destination_service",
  "destination_service_namespace",
  "destination_service_name",
  "destination_workload",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_cluster",
  "request_protocol",
  "response_flags",
  "connection_security_policy",
  // Only where a workload is known at either end.
  "source_region",
  "source_zone",
  "destination_region",
  "destination_zone",
] as const;

/** Of requests that were observed in passing: no region or zone, as proxies of HTTP have it. */
export const requestLabelNames = [
  ...trafficLabelNames.slice(0, 21),
  "response_code",
  "grpc_response_status",
  "response_flags",
  "connection_security_policy",
];

const dnsLabels = ["request_query_type", "request_protocol", "source_canonical_service", "source_canonical_revision"];
const sourceLabels = trafficLabelNames.slice(1, 9);

export const metrics = {
  istio_build: {
    type: "gauge",
    help: "Always 1; what runs is in the labels.",
    labels: ["component", "tag"],
    stability: "core",
  },
  istio_tcp_connections_opened: {
    type: "counter",
    help: "Connections for which a destination was found, whether or not it could then be connected to.",
    labels: trafficLabelNames,
    stability: "core",
  },
  istio_tcp_connections_closed: {
    type: "counter",
    help: "Of these, the ones that have ended.",
    labels: trafficLabelNames,
    stability: "core",
  },
  istio_tcp_received_bytes: {
    type: "counter",
    help: "Bytes from the client to the server, while the connection is open.",
    labels: trafficLabelNames,
    stability: "core",
  },
  istio_tcp_sent_bytes: {
    type: "counter",
    help: "Bytes from the server to the client, while the connection is open.",
    labels: trafficLabelNames,
    stability: "core",
  },
  istio_tcp_connections_failed: {
    type: "counter",
    help: "Connections that ended for another reason than an application's, also those that never got as far as a destination.",
    labels: trafficLabelNames,
    stability: "unstable",
  },
  istio_tcp_sockets_open: {
    type: "gauge",
    help: "Sockets accepted and not closed yet: captured connections, plaintext ones, and tunnels.",
    labels: ["reporter"],
    stability: "unstable",
  },
  istio_requests: {
    type: "counter",
    help: "HTTP/1, HTTP/2 and gRPC requests to pods of this node, as observed in passing (AMBIENTD_SNIFF): where what passed could be read, not where a proxy answered. response_code 0: no answer.",
    labels: requestLabelNames,
    stability: "ours",
  },
  istio_request_duration_milliseconds: {
    type: "histogram",
    help: "How long such requests took, as observed in passing (AMBIENTD_SNIFF) at the server's node: from a request's first octet to the last one of its answer.",
    labels: requestLabelNames,
    stability: "ours",
    buckets: [
      0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
      3_600_000,
    ],
  },
  istio_on_demand_dns: {
    type: "counter",
    help: "Hostnames of workloads resolved because somebody connected to them.",
    labels: [...sourceLabels, "hostname"],
    stability: "unstable",
  },
  istio_crl_policy_rejections: {
    type: "counter",
    help: "Connections refused or ended because a certificate has been revoked.",
    labels: ["reporter"],
    stability: "unstable",
  },
  istio_crl_untracked_connections: {
    type: "counter",
    help: "Connections that a later revocation could not end, because there were too many to keep track of.",
    labels: ["reporter"],
    stability: "unstable",
  },
  istio_dns_requests: {
    type: "counter",
    help: "DNS queries of pods.",
    labels: dnsLabels,
    stability: "unstable",
  },
  istio_dns_upstream_requests: {
    type: "counter",
    help: "DNS queries passed on to the pod's own resolver.",
    labels: dnsLabels,
    stability: "unstable",
  },
  istio_dns_upstream_failures: {
    type: "counter",
    help: "Of these, the ones without an answer.",
    labels: dnsLabels,
    stability: "unstable",
  },
  istio_dns_upstream_request_duration_seconds: {
    type: "histogram",
    help: "How long the pod's own resolver took.",
    labels: dnsLabels,
    stability: "unstable",
    buckets: [0.0005, 0.001, 0.01, 0.1, 1, 5],
  },
  istio_xds_connection_terminations: {
    type: "counter",
    help: "Streams from control that ended: it was not there (ConnectionError), it said no or failed (Error), it ended the stream and is asked again (Reconnect), we ended it (Complete).",
    labels: ["reason"],
    stability: "unstable",
  },
  istio_xds_message: {
    type: "counter",
    help: "Messages from control.",
    labels: ["url"],
    stability: "unstable",
  },
  istio_xds_message_bytes: {
    type: "counter",
    help: "Bytes of the resources in them.",
    labels: ["url"],
    stability: "unstable",
  },
  workload_manager_active_proxy_count: {
    type: "gauge",
    help: "Pods that are served.",
    labels: [],
    stability: "unstable",
  },
  workload_manager_pending_proxy_count: {
    type: "gauge",
    help: "Pods that should be served and are not yet; config_dump says why.",
    labels: [],
    stability: "unstable",
  },
  workload_manager_proxies_started: {
    type: "counter",
    help: "Times a pod began to be served.",
    labels: [],
    stability: "unstable",
  },
  workload_manager_proxies_stopped: {
    type: "counter",
    help: "Times a pod ceased to be served.",
    labels: [],
    stability: "unstable",
  },
  process_open_fds: { type: "gauge", help: "Open file descriptors.", labels: [], stability: "core" },
  process_max_fds: { type: "gauge", help: "Most file descriptors that may be open.", labels: [], stability: "core" },
  process_resident_memory_bytes: { type: "gauge", help: "Resident memory.", labels: [], stability: "core" },
  process_cpu_seconds: { type: "counter", help: "Processor time, user and system.", labels: [], stability: "core" },
  process_start_time_seconds: {
    type: "gauge",
    help: "When the process began, in seconds since 1970.",
    labels: [],
    stability: "core",
  },
  ambientd_event_loop_delay_seconds: {
    type: "summary",
    help: "How late a thread is for its own timers, since the last scrape. quantile 1 is the worst. Threads: main, and the workers by number.",
    labels: ["thread"],
    stability: "ours",
  },
  ambientd_event_loop_busy_seconds: {
    type: "counter",
    help: "Time a thread was not waiting for anything.",
    labels: ["thread"],
    stability: "ours",
  },
  ambientd_worker_restarts: {
    type: "counter",
    help: "Data-plane workers that ended unasked and were replaced.",
    labels: [],
    stability: "ours",
  },
  ambientd_connections_ended: {
    type: "counter",
    help: "Connections by the reason why they ended; docs/close-reasons.md says what to do about each.",
    labels: ["reporter", "reason"],
    stability: "ours",
  },
  ambientd_connection_retries: {
    type: "counter",
    help: "Further attempts to connect, by what the one before failed of.",
    labels: ["reason"],
    stability: "ours",
  },
  ambientd_tunnels_open: {
    type: "gauge",
    help: "Tunnels that stand.",
    labels: ["direction"],
    stability: "ours",
  },
  ambientd_tunnel_handshakes: {
    type: "counter",
    help: "Handshakes that came to a tunnel. Far fewer than connections: tunnels are shared.",
    labels: ["direction"],
    stability: "ours",
  },
  ambientd_certificates: {
    type: "gauge",
    help: "Identities of this node's pods by whether there is a certificate in hand.",
    labels: ["state"],
    stability: "ours",
  },
  ambientd_certificate_expiration_timestamp_seconds: {
    type: "gauge",
    help: "When the certificate in hand ends, in seconds since 1970. It is renewed at half of its life: alarm on a quarter.",
    labels: ["identity"],
    stability: "ours",
  },
  ambientd_crl_revoked_certificates: {
    type: "gauge",
    help: "Certificates that the lists in force name; only with CRL_PATH.",
    labels: [],
    stability: "ours",
  },
  ambientd_crl_problem: {
    type: "gauge",
    help: "1 where the file of CRL_PATH is missing, unreadable, malformed or forged, and the last good lists are in force instead; or out-of-date, and in force all the same. Alarm on any.",
    labels: ["problem"],
    stability: "ours",
  },
  ambientd_crl_next_update_timestamp_seconds: {
    type: "gauge",
    help: "When the first of the lists in force should have been replaced, in seconds since 1970.",
    labels: [],
    stability: "ours",
  },
  ambientd_ready: {
    type: "gauge",
    help: "1 where the gate of readiness is open.",
    labels: ["gate"],
    stability: "ours",
  },
  ambientd_xds_connected: {
    type: "gauge",
    help: "1 while control has a stream to this agent. What control has said stays in force either way.",
    labels: [],
    stability: "ours",
  },
  ambientd_xds_rejected_resources: {
    type: "gauge",
    help: "Resources of the last message of a type that could not be used; their last good version is in force.",
    labels: ["url"],
    stability: "ours",
  },
  ambientd_log_lines_dropped: {
    type: "counter",
    help: "Log lines given up because nobody read the output.",
    labels: [],
    stability: "ours",
  },
  ambientd_metrics_series: {
    type: "gauge",
    help: "Series of traffic that are kept.",
    labels: [],
    stability: "ours",
  },
  ambientd_metrics_series_overflows: {
    type: "counter",
    help: "Times a series of traffic or of requests was one too many, and the connection was counted under `unknown`.",
    labels: [],
    stability: "ours",
  },
  ambientd_sniffing_failures: {
    type: "counter",
    help: "Bugs of ours in observing requests (AMBIENTD_SNIFF): the connection went on, and its requests were not counted.",
    labels: [],
    stability: "ours",
  },
  ambientd_scrapes_refused: {
    type: "counter",
    help: "Scrapes answered with 503 because two were being answered already.",
    labels: [],
    stability: "ours",
  },
} as const satisfies Readonly<Record<string, MetricFamily>>;
