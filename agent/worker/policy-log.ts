/** Verdicts of policies, one line each where somebody wants to read them: at debug, or at info with AUTHZ_POLICY_INFO_LOGGING. */
import type { Log } from "../../core/base/log.ts";
import { formatEndpoint } from "../../core/base/ip.ts";
import type { InboundDecision } from "../../core/decision/inbound.ts";
import type { ConnectionFacts } from "../connection/close-record.ts";

/**
 * Says which policies let the connection in, refused it, or would have if they were enforced (dry run). A connection that no policy
 * speaks of has no line.
 */
export function logVerdicts(
  log: Log,
  level: "debug" | "info",
  facts: ConnectionFacts,
  decision: InboundDecision,
): void {
  if (!log.isLevelEnabled(level)) return;
  for (const step of decision.trace) {
    if (step.code === "dry-run")
      log[level]({ ...about(facts), ...verdict(step), dry_run: true }, "policy would decide");
    else if (step.code === "policy-decided") log[level]({ ...about(facts), ...verdict(step) }, "policy decided");
    else if (step.code === "refused" && notByOne.has(step.reason)) {
      log[level]({ ...about(facts), verdict: "deny", reason: step.reason, policy: decision.policy }, "policy decided");
    }
  }
}

function verdict({ policy, verdict }: { policy: string; verdict: "allow" | "deny" }): Record<string, string> {
  return { policy, verdict };
}

function about({ source, sourceIdentity, destination, authority, trace }: ConnectionFacts): Record<string, unknown> {
  return {
    "src.addr": formatEndpoint(source),
    "src.identity": sourceIdentity,
    "dst.addr": destination && formatEndpoint(destination),
    "dst.hbone_addr": authority,
    trace,
  };
}

/** Refusals that no policy of those that are known has pronounced. */
const notByOne: ReadonlySet<string> = new Set(["POLICY_NOT_ALLOWED", "POLICY_UNKNOWN"]);
