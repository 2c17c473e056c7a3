/** The labels of one connection's traffic (agent-wire 9.1): what is proven, then what control says, then what the peer says of itself. */
import type { ResponseFlag } from "../../core/decision/close-reasons.ts";
import { printable } from "../../core/base/printable.ts";
import type { Baggage } from "../../core/protocol/hbone/baggage.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";
import { trafficLabelNames } from "./catalogue.ts";

export type Reporter = "source" | "destination";

export function reporterOf(direction: ConnectionFacts["direction"]): Reporter {
  return direction === "outbound" ? "source" : "destination";
}

/** Values in the order of `trafficLabelNames`; the last four are missing where neither workload is known. */
export function trafficLabels(facts: ConnectionFacts, flag: ResponseFlag): readonly string[] {
  const { service } = facts;
  const source = endOf(facts.sourceWorkload, facts.sourceBaggage);
  const { destinationBaggage } = facts;
  // Control's record is then of the network behind the gateway, not of whom that has chosen.
  const destination = endOf(destinationBaggage ? undefined : facts.destinationWorkload, destinationBaggage);
  const labels = [
    reporterOf(facts.direction),
    ...workloadLabels(source, facts.sourceIdentity),
    value(service?.hostname),
    value(service?.namespace),
    value(service?.name),
    ...workloadLabels(destination, facts.destinationIdentity),
    "tcp",
    flag,
    facts.protocol === "hbone" && facts.sourceIdentity !== undefined ? "mutual_tls" : unknown,
  ];
  if (source === undefined && destination === undefined) return labels;
  return [...labels, value(source?.region), value(source?.zone), value(destination?.region), value(destination?.zone)];
}

/** Of the source alone: `source_workload` to `source_cluster`. */
export function sourceLabels(facts: ConnectionFacts): readonly string[] {
  return workloadLabels(endOf(facts.sourceWorkload, facts.sourceBaggage), facts.sourceIdentity);
}

/** Where there are too many series: who reports, and how it ended. */
export function overflowLabels(labels: readonly string[]): readonly string[] {
  return labels.slice(0, securityAt + 1).map((one, at) => (keptOfOverflow.has(at) ? one : unknown));
}

interface End {
  readonly workload?: string | undefined;
  readonly service?: string | undefined;
  readonly revision?: string | undefined;
  readonly namespace?: string | undefined;
  readonly cluster?: string | undefined;
  readonly region?: string | undefined;
  readonly zone?: string | undefined;
}

/** Each attribute as control says it, else as the peer says it. */
function endOf(workload: MeshWorkload | undefined, baggage: Baggage | undefined): End | undefined {
  if (workload === undefined && (baggage === undefined || Object.keys(baggage).length === 0)) return undefined;
  return {
    workload: workload?.workloadName || baggage?.workload?.name,
    service: workload?.canonicalName || baggage?.serviceName,
    revision: workload?.canonicalRevision || baggage?.serviceVersion,
    namespace: workload?.namespace || baggage?.namespace,
    cluster: workload?.clusterId || baggage?.clusterName,
    region: workload?.locality.region || baggage?.region,
    zone: workload?.locality.zone || baggage?.zone,
  };
}

/** workload, canonical_service, canonical_revision, workload_namespace, principal, app, version, cluster */
function workloadLabels(end: End | undefined, principal: string | undefined): string[] {
  const [service, revision] = [value(end?.service), value(end?.revision)];
  return [
    value(end?.workload),
    service,
    revision,
    value(end?.namespace),
    value(principal),
    service,
    revision,
    value(end?.cluster),
  ];
}

function value(text: string | undefined): string {
  return text === undefined || text === "" ? unknown : printable(text, longestValue);
}

export const unknown = "unknown";
/** Where it is told how the connection is secured: the last label that is always there. */
export const securityAt = trafficLabelNames.indexOf("connection_security_policy");
const keptOfOverflow: ReadonlySet<number> = new Set(
  (["reporter", "request_protocol", "response_flags"] as const).map((name) => trafficLabelNames.indexOf(name)),
);
/** A claim of a peer must not become a page of every scrape. */
const longestValue = 256;
