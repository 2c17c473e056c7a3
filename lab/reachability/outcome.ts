/** What happened to a request, in the few words the table has room for. */
import type { Observation } from "./ledger.ts";

export type Outcome =
  | { readonly kind: "hbone"; readonly identity: string }
  | { readonly kind: "plaintext" }
  | { readonly kind: "refused"; readonly reason: string; readonly policy?: string }
  | { readonly kind: "failed"; readonly error: string };

/** @returns undefined while a line that decides it is still missing. */
export function outcomeOf(observation: Observation): Outcome | undefined {
  const { attempt, served, outbound, inbound } = observation;
  const refusal = [inbound, outbound].find((record) => record !== undefined && record.reason !== "OK");
  if (attempt.status === undefined) {
    if (refusal === undefined) return { kind: "failed", error: attempt.error ?? "no answer" };
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
