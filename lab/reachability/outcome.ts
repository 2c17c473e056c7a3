/** What happened to a request, in the few words the table has room for. */
import type { Observation } from "./ledger.ts";

export type Outcome =
  | { readonly kind: "hbone"; readonly identity: string }
  | { readonly kind: "plaintext" }
  | { readonly kind: "refused"; readonly reason: string; readonly policy?: string }
  | { readonly kind: "failed"; readonly error: string };

/** How long an agent may take to say why a connection failed, before the client's own error has to do. */
const explanationMs = 2_000;

/** @returns undefined while a line that decides it is still missing. @param nowMs monotonic, as the observation's. */
export function outcomeOf(observation: Observation, nowMs: number): Outcome | undefined {
  const { attempt, served, outbound, inbound } = observation;
  const refusal = [inbound, outbound].find((record) => record !== undefined && record.reason !== "OK");
  if (attempt.status === undefined) {
    if (refusal === undefined) {
      const isLate = nowMs - observation.heardMs > explanationMs;
      return isLate ? { kind: "failed", error: attempt.error ?? "no answer" } : undefined;
    }
    // The other end refused, and its own line, which says why, is still to come.
    if (refusal === outbound && refusal.reason === "PEER_DENIED" && nowMs - observation.heardMs <= explanationMs)
      return undefined;
    return {
      kind: "refused",
      reason: refusal.reason,
      ...(refusal.policy === undefined ? {} : { policy: refusal.policy }),
    };
  }
  if (served === undefined) return undefined;
  if (inbound?.protocol === "hbone") return { kind: "hbone", identity: inbound["src.identity"] ?? "nobody" };
  // An outbound record of a tunnel whose other end has not logged yet.
  if (outbound?.protocol === "hbone") return undefined;
  return { kind: "plaintext" };
}

export function sameOutcome(one: Outcome, other: Outcome): boolean {
  return renderOutcome(one) === renderOutcome(other);
}

export function renderOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case "hbone":
      return `HBONE as ${outcome.identity}`;
    case "plaintext":
      return "plaintext";
    case "refused":
      return `denied: ${outcome.reason}${outcome.policy === undefined ? "" : ` by ${outcome.policy}`}`;
    case "failed":
      return `failed: ${outcome.error}`;
  }
}
