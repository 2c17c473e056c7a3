/** What happened to a request, in the few words the table has room for. */
import type { Observation } from "./ledger.ts";

export type Outcome =
  | { readonly kind: "hbone"; readonly identity: string }
  | { readonly kind: "plaintext" }
  | { readonly kind: "refused"; readonly reason: string; readonly policy?: string }
  | { readonly kind: "failed"; readonly error: string };

/** How long agents may take to log a connection, before what the applications saw has to do. */
const explanationMs = 2_000;

/** @returns undefined while a line that decides it is still missing. @param nowMs monotonic, as the observation's. */
export function outcomeOf(observation: Observation, nowMs: number): Outcome | undefined {
  const isLate = nowMs - observation.heardMs > explanationMs;
  return observation.attempt.status === undefined ? failureOf(observation, isLate) : successOf(observation, isLate);
}

function successOf({ attempt, served, outbound, inbound }: Observation, isLate: boolean): Outcome | undefined {
  if (served === undefined) return undefined;
  if (inbound?.protocol === "hbone") return { kind: "hbone", identity: inbound["src.identity"] ?? "nobody" };
  // A tunnel whose other end has not logged yet.
  if (outbound?.protocol === "hbone") return undefined;
  // Nobody stood between whom the server saw and the client itself; else an agent did, and will say so.
  const isDirect = served.peer === attempt.local;
  return isDirect || isLate || outbound !== undefined || inbound !== undefined ? { kind: "plaintext" } : undefined;
}

function failureOf({ attempt, outbound, inbound }: Observation, isLate: boolean): Outcome | undefined {
  const refusal = [inbound, outbound].find((record) => record !== undefined && record.reason !== "OK");
  if (refusal === undefined) return isLate ? { kind: "failed", error: attempt.error ?? "no answer" } : undefined;
  // The other end refused, and its own line, which says why, is still to come.
  if (refusal === outbound && refusal.reason === "PEER_DENIED" && !isLate) return undefined;
  const { reason, policy } = refusal;
  return { kind: "refused", reason, ...(policy === undefined ? {} : { policy }) };
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
