/** What is told of a connection once it is over: one flat record, the access log's line (agent-wire 9.2, plus reason, trace, policy, app.local). */
import { closeReason, type CloseCode } from "../../core/decision/close-reasons.ts";
import { formatEndpoint, type Endpoint } from "../../core/base/ip.ts";
import { printable } from "../../core/base/printable.ts";
import type { Baggage } from "../../core/protocol/hbone/baggage.ts";
import type { MeshService } from "../../core/protocol/wds/service.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

/** What is known of a connection; filled in as it becomes known. */
export interface ConnectionFacts {
  readonly direction: "outbound" | "inbound";
  /** 32 hex digits, the same at both ends of a tunnel. */
  trace: string;
  protocol: "hbone" | "tcp";
  /** The TCP peer: the client's own endpoint, or the tunnel's. */
  readonly source: Endpoint;
  sourceWorkload?: MeshWorkload | undefined;
  /** What the tunnel's other end says of the source: for telemetry alone, where control says nothing. */
  sourceBaggage?: Baggage | undefined;
  /** SPIFFE URI, where mutual TLS proved it (or ours, where we proved it). */
  sourceIdentity?: string | undefined;
  /** What was connected to: the tunnel's end for HBONE, the original destination otherwise. */
  destination?: Endpoint | undefined;
  /** `:authority` of the CONNECT. */
  authority?: string | undefined;
  service?: MeshService | undefined;
  destinationWorkload?: MeshWorkload | undefined;
  destinationIdentity?: string | undefined;
  /** What the destination says of itself, where a gateway has chosen it: for telemetry alone, in place of what control says. */
  destinationBaggage?: Baggage | undefined;
  /** Attempts after the first; and why the one before the last failed. */
  retries?: number | undefined;
  retryReason?: CloseCode | undefined;
  /** Our end of the connection to the application: what the server sees as its peer. */
  appLocal?: Endpoint | undefined;
}

export interface CloseDetails {
  /** `namespace/name`. */
  readonly policy?: string | undefined;
  /** What the code leaves open: an errno, a status, an alert. */
  readonly detail?: string | undefined;
}

export interface CloseRecord extends CloseDetails {
  readonly facts: ConnectionFacts;
  readonly reason: CloseCode;
  /** From the point of view of the reporter's application: outbound sent = client to server, inbound sent = server to client. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly durationMs: number;
}

/** The fields of the log line, in order; what is unknown is left out, and what a stranger chose is fit to be printed. */
export function logFields(record: CloseRecord): Record<string, string | number> {
  const { facts, reason, detail } = record;
  const { flag, sentence } = closeReason(reason);
  return presentFields({
    direction: facts.direction,
    protocol: facts.protocol,
    reason,
    detail,
    policy: record.policy,
    ...endFields(facts),
    retries: facts.retries,
    retry_reason: facts.retryReason,
    bytes_sent: record.bytesSent,
    bytes_recv: record.bytesReceived,
    duration: `${Math.round(record.durationMs)}ms`,
    error: flag === "-" ? undefined : detail === undefined ? sentence : `${sentence.replace(/\.$/, "")}: ${detail}`,
    trace: facts.trace,
  });
}

/** The same of a connection that has only begun. */
export function openedFields(facts: ConnectionFacts): Record<string, string | number> {
  const { direction, protocol, trace } = facts;
  return presentFields({ direction, protocol, ...endFields(facts), trace });
}

function endFields(facts: ConnectionFacts): Record<string, string | undefined> {
  return {
    "src.addr": formatEndpoint(facts.source),
    "src.workload": facts.sourceWorkload?.name,
    "src.namespace": facts.sourceWorkload?.namespace,
    "src.identity": facts.sourceIdentity,
    "src.cluster": facts.sourceWorkload?.clusterId,
    "dst.addr": textOf(facts.destination),
    "dst.hbone_addr": facts.authority,
    "dst.service": facts.service?.hostname,
    "dst.workload": facts.destinationBaggage?.workload?.name ?? facts.destinationWorkload?.name,
    "dst.namespace": facts.destinationBaggage?.namespace ?? facts.destinationWorkload?.namespace,
    "dst.identity": facts.destinationIdentity,
    "dst.cluster": facts.destinationBaggage?.clusterName ?? facts.destinationWorkload?.clusterId,
    "app.local": textOf(facts.appLocal),
  };
}

function presentFields(fields: Record<string, string | number | undefined>): Record<string, string | number> {
  const present: Record<string, string | number> = {};
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (value !== undefined) present[name] = typeof value === "string" ? printable(value) : value;
  }
  return present;
}

function textOf(endpoint: Endpoint | undefined): string | undefined {
  return endpoint === undefined ? undefined : formatEndpoint(endpoint);
}
