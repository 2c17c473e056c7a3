/**
 * When a stream may be told the next thing. One response at a time, whatever its type: a workload that needs a policy goes
 * out when the policy has been answered, and a policy goes when the workload that needed it has been.
 */
import type { SubscriptionStatus } from "../../../core/protocol/xds/delta-server.ts";
import { addressTypeUrl, authorizationTypeUrl } from "../model/resources.ts";

/** Types in the order they are pushed: what others need first. Removals go the other way. */
export const pushOrder: readonly string[] = [authorizationTypeUrl, addressTypeUrl];

/** How long a stream that asked for addresses only is given to ask for policies too, in milliseconds. */
export const policiesAwaitedMs = 500;

export type PushTurn =
  { readonly kind: "now" } | { readonly kind: "answer-awaited" } | { readonly kind: "policies-awaited" }; // agents ask for addresses first; what is behind them must not go first

/** @param ageMs milliseconds since the stream's first request */
export function pushTurn(subscriptions: readonly SubscriptionStatus[], ageMs: number): PushTurn {
  if (subscriptions.some(({ outstanding }) => outstanding !== undefined)) return { kind: "answer-awaited" };
  const wants = (wanted: string): boolean => subscriptions.some(({ typeUrl }) => typeUrl === wanted);
  const awaitsPolicies = wants(addressTypeUrl) && !wants(authorizationTypeUrl) && ageMs < policiesAwaitedMs;
  return awaitsPolicies ? { kind: "policies-awaited" } : { kind: "now" };
}
