/** Which connections came to nothing before it was known where they were to go. */
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import type { CloseRecord } from "./close-record.ts";

/** Ended before there was a destination: logged as `connection failed`, and neither opened nor closed in the metrics, only failed. */
export function isEarly({ facts, reason }: CloseRecord): boolean {
  if (beforeDestination.has(reason)) return true;
  // A tunnel that did not come to be: nobody has said yet where to.
  return facts.direction === "inbound" && facts.protocol === "hbone" && facts.authority === undefined;
}

const beforeDestination: ReadonlySet<CloseCode> = new Set<CloseCode>([
  "NO_ORIGINAL_DST",
  "NO_WORKLOAD",
  "NO_POLICIES",
  "RECURSIVE_CALL",
  "NOT_CONNECT",
  "BAD_AUTHORITY",
  "DEST_NOT_LOCAL",
  "UNKNOWN_HOSTNAME",
  "NO_SERVICE_PORT",
  "NO_HEALTHY_UPSTREAM",
  "NO_USABLE_ADDRESS",
  "HOSTNAME_UNRESOLVED",
  "UNKNOWN_WAYPOINT",
  "NO_HEALTHY_WAYPOINT",
  "CROSS_NETWORK_ADDRESS",
  "NO_NETWORK_GATEWAY",
  "FD_LIMIT",
  "POD_CONN_LIMIT",
  "MEM_PRESSURE",
]);
