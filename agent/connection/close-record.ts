/** What is told of a connection once it is over: one flat record, the access log's line (agent-wire 9.2, plus reason, trace, policy, app.local). */
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import { formatEndpoint, type Endpoint } from "../../core/base/ip.ts";
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

/** The fields of the log line, in order; what is unknown is left out. */
export function logFields(record: CloseRecord): Record<string, string | number> {
  const { facts } = record;
  const fields: Record<string, string | number | undefined> = {
    direction: facts.direction,
    protocol: facts.protocol,
    reason: record.reason,
    detail: record.detail,
    policy: record.policy,
    "src.addr": formatEndpoint(facts.source),
    "src.workload": facts.sourceWorkload?.name,
    "src.namespace": facts.sourceWorkload?.namespace,
    "src.identity": facts.sourceIdentity,
    "src.cluster": facts.sourceWorkload?.clusterId,
    "dst.addr": textOf(facts.destination),
    "dst.hbone_addr": facts.authority,
    "dst.service": facts.service?.hostname,
    "dst.workload": facts.destinationWorkload?.name,
    "dst.namespace": facts.destinationWorkload?.namespace,
    "dst.identity": facts.destinationIdentity,
    "dst.cluster": facts.destinationWorkload?.clusterId,
    "app.local": textOf(facts.appLocal),
    retries: facts.retries,
    retry_reason: facts.retryReason,
    bytes_sent: record.bytesSent,
    bytes_recv: record.bytesReceived,
    duration: `${Math.round(record.durationMs)}ms`,
    trace: facts.trace,
  };
  for (const name of Object.keys(fields)) if (fields[name] === undefined) delete fields[name];
  return fields as Record<string, string | number>;
}

function textOf(endpoint: Endpoint | undefined): string | undefined {
  return endpoint === undefined ? undefined : formatEndpoint(endpoint);
}
