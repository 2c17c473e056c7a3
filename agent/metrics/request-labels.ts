/** The labels of requests: those of the connection that they came by, as far as others give them, and how they ended. */
import type { ConnectionFacts } from "../connection/close-record.ts";
import type { SniffedProtocol } from "../sniff/conversation.ts";
import { requestLabelNames } from "./catalogue.ts";
import { securityAt, trafficLabels, unknown } from "./traffic-labels.ts";

/** From `reporter` to `destination_cluster`, and then how the connection is secured. */
export type RequestEnds = readonly string[];

export function requestEnds(facts: ConnectionFacts): RequestEnds {
  const labels = trafficLabels(facts, "-");
  return [...labels.slice(0, protocolAt), labels[securityAt] ?? unknown];
}

/** Of everybody for whom there is no room. */
export const otherEnds: RequestEnds = ["destination", ...new Array<string>(20).fill(unknown)];

/** Values in the order of `requestLabelNames`. @param grpcStatus -1: none. */
export function outcomeLabels(
  ends: RequestEnds,
  protocol: SniffedProtocol,
  code: string,
  grpcStatus: number,
): readonly string[] {
  const policy = ends[protocolAt] ?? unknown;
  return [...ends.slice(0, protocolAt), protocol, code, grpcStatus < 0 ? "" : String(grpcStatus), "-", policy];
}

/** The same with nothing but protocol and outcome left. */
export function overflowRequestLabels(labels: readonly string[]): readonly string[] {
  return [...otherEnds.slice(0, protocolAt), ...labels.slice(protocolAt, -1), unknown];
}

const protocolAt = requestLabelNames.indexOf("request_protocol");
