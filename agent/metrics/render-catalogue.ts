/** docs/metrics.md, rendered from the catalogue so that text and code cannot part. */
import { metricFamily, metrics, requestLabelNames, trafficLabelNames, type MetricName } from "./catalogue.ts";

/** The whole page, as Markdown that prettier leaves alone. */
export function renderMetrics(): string {
  const names = Object.keys(metrics) as MetricName[];
  return `${[
    "# Metrics",
    "`http://<agent's pod>:15020/metrics` (or `/stats/prometheus`), as OpenMetrics where the reader accepts it, else as Prometheus' text format; gzip, zstd, brotli and deflate. The port is `statsPort` in `PROXY_CONFIG`. Two scrapes are answered at a time, in pieces, and never on a thread that carries traffic; a third is told to come again (503). This page is rendered from `agent/metrics/catalogue.ts` by `node scripts/write-metrics.ts`.",
    "Counters hold the totals of all data-plane workers and never go back, also when a worker is replaced: workers report increments, at every scrape and every ten seconds. Names and labels of `istio_*` and `workload_manager_*` are those of other node agents, so that dashboards go on working; **ours** are this agent's alone.",
    "## Traffic labels",
    trafficLabelNames.map((name) => `\`${name}\``).join(", "),
    "What is not known is `unknown`. `reporter` is `source` for connections of a pod of this node, `destination` for connections to one; both agents count a connection in the mesh. Principals are there only where mutual TLS proved them. Workloads are named as control knows them; a source that control does not know is named as its own agent describes it. The last four are there where at least one workload is known. `response_flags` is the flag of the close reason ([close-reasons.md](close-reasons.md)): opened connections and bytes carry `-` always, closed and failed ones how they ended.",
    "Bytes are counted while a connection is open, at least once a second. There are at most 10,000 series; what comes after that is counted with every label `unknown` but `reporter`, `request_protocol` and `response_flags`. A series that is not used any more stays as long as its workloads are in the mesh, and goes 10 to 20 minutes after one of them has left.",
    "## Request labels",
    requestLabelNames.map((name) => `\`${name}\``).join(", "),
    "Only with `AMBIENTD_SNIFF=http` ([agent.md](agent.md)). What passes a connection to a pod of this node is looked at on its way: each request counts once, at its server, with `reporter` `destination`. `request_protocol` is `http` (HTTP/1), `http2` or `grpc`; `grpc_response_status` is empty but for the last. A request without an answer has `response_code` 0, one that was cut short the code that its answer began with; `response_flags` is `-` always. At most 2,000 series, and 100 of one pair of workloads: what comes after that has codes like `5xx`, or is `unknown`. They go like those of traffic.",
    ...names.map(renderFamily),
  ].join("\n\n")}\n`;
}

function renderFamily(name: MetricName): string {
  const { type, help, labels, stability, buckets } = metricFamily(name);
  const facts = [
    type,
    `**${stability}**`,
    ...(labels.length === 0 ? [] : [namesOf(labels)]),
    ...(buckets === undefined ? [] : [`buckets ${buckets.join(", ")}`]),
  ];
  return [`## ${name}${type === "counter" ? "_total" : ""}`, help, facts.join(" · ")].join("\n\n");
}

function namesOf(labels: readonly string[]): string {
  if (labels.length === trafficLabelNames.length) return "traffic labels";
  if (labels.length === requestLabelNames.length) return "request labels";
  return labels.map((label) => `\`${label}\``).join(", ");
}
