/** What a node's agent counts, asked for over the network by a pod outside the mesh, as Prometheus would. */
import { endpointText } from "./answers.ts";
import type { TestLab } from "./mesh-lab.ts";
import { parseMetrics, sumOf, type ParsedFamily } from "./openmetrics.ts";

export type Metrics = Map<string, ParsedFamily>;

/** @param pod `namespace/name` of who asks. */
export async function scrape(lab: TestLab, node: string, pod = "outside/prometheus"): Promise<Metrics> {
  const { config } = await lab.askAgent<{ config: { instanceIp: string } }>(node);
  const url = `http://${endpointText(config.instanceIp, 15_020)}/metrics`;
  const accept = "accept: application/openmetrics-text";
  const argv = ["curl", "-g", "--silent", "--fail", "--compressed", "--header", accept, url];
  const { code, stdout, stderr } = await lab.run(pod, argv);
  if (code !== 0) throw new Error(`curl ${url}: exit ${code}: ${stderr}`);
  return parseMetrics(stdout, "openmetrics");
}

/** Connections and octets: `received` is what went to the server. */
export interface Traffic {
  readonly opened: number;
  readonly closed: number;
  readonly received: number;
  readonly sent: number;
}

/** @param source, destination `namespace/name` of workloads. */
export function trafficBetween(
  metrics: Metrics,
  reporter: "source" | "destination",
  source: string,
  destination: string,
): Traffic {
  const [sourceNamespace = "", sourceName = ""] = source.split("/");
  const [destinationNamespace = "", destinationName = ""] = destination.split("/");
  const of = (name: string): number =>
    sumOf(metrics, name, {
      reporter,
      source_workload: sourceName,
      source_workload_namespace: sourceNamespace,
      destination_workload: destinationName,
      destination_workload_namespace: destinationNamespace,
    });
  return {
    opened: of("istio_tcp_connections_opened"),
    closed: of("istio_tcp_connections_closed"),
    received: of("istio_tcp_received_bytes"),
    sent: of("istio_tcp_sent_bytes"),
  };
}
