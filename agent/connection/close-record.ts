/** What is told of a connection once it is over: one flat record, the access log's line (agent-wire 9.2, plus reason, trace, policy, app.local). */
import { closeReason, type CloseCode } from "../../core/decision/close-reasons.ts";
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

/** Takes the fields of a line in their order; a value that is unknown is left out. */
export interface FieldTaker {
  add(name: string, value: string | number | undefined): void;
}

/** What the log says of a connection that has ended. */
export function tellClosed(record: CloseRecord, line: FieldTaker): void {
  const { facts, reason, detail } = record;
  const { flag, sentence } = closeReason(reason);
  line.add("direction", facts.direction);
  line.add("protocol", facts.protocol);
  line.add("reason", reason);
  line.add("detail", detail);
  line.add("policy", record.policy);
  tellEnds(facts, line);
  line.add("retries", facts.retries);
  line.add("retry_reason", facts.retryReason);
  line.add("bytes_sent", record.bytesSent);
  line.add("bytes_recv", record.bytesReceived);
  line.add("duration", `${Math.round(record.durationMs)}ms`);
  if (flag !== "-") line.add("error", detail === undefined ? sentence : `${sentence.replace(/\.$/, "")}: ${detail}`);
  line.add("trace", facts.trace);
}

/** The same of a connection that has only begun. */
export function tellOpened(facts: ConnectionFacts, line: FieldTaker): void {
  line.add("direction", facts.direction);
  line.add("protocol", facts.protocol);
  tellEnds(facts, line);
  line.add("trace", facts.trace);
}

function tellEnds(facts: ConnectionFacts, line: FieldTaker): void {
  const { sourceWorkload: source, destinationWorkload: destination, destinationBaggage: claimed } = facts;
  line.add("src.addr", formatEndpoint(facts.source));
  line.add("src.workload", source?.name);
  line.add("src.namespace", source?.namespace);
  line.add("src.identity", facts.sourceIdentity);
  line.add("src.cluster", source?.clusterId);
  line.add("dst.addr", textOf(facts.destination));
  line.add("dst.hbone_addr", facts.authority);
  line.add("dst.service", facts.service?.hostname);
  line.add("dst.workload", claimed?.workload?.name ?? destination?.name);
  line.add("dst.namespace", claimed?.namespace ?? destination?.namespace);
  line.add("dst.identity", facts.destinationIdentity);
  line.add("dst.cluster", claimed?.clusterName ?? destination?.clusterId);
  line.add("app.local", textOf(facts.appLocal));
}

function textOf(endpoint: Endpoint | undefined): string | undefined {
  return endpoint === undefined ? undefined : formatEndpoint(endpoint);
}
