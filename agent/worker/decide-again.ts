/** A decision that came to nobody for want of a way to whom chance chose: names are looked up, and others get their turn. */
import type { OutboundDecision } from "../../core/decision/route.ts";
import type { HostResolver } from "./resolver.ts";

/** The decision once more, without these endpoints and with what names are known to resolve to. */
export type Decide = (
  exclude: ReadonlySet<string>,
  resolved: (hostname: string) => readonly string[] | undefined,
) => OutboundDecision;

/** Whether another try may come to somebody. */
export function isWorthAnother(decision: OutboundDecision): boolean {
  return decision.kind === "refuse" && (decision.endpoint !== undefined || decision.hostname !== undefined);
}

/** An endpoint that no way leads to is passed over for another. Where there is no other, the first refusal stands. */
export async function decideAgain(
  resolver: Pick<HostResolver, "known" | "resolve">,
  exclude: ReadonlySet<string> | undefined,
  decide: Decide,
): Promise<OutboundDecision> {
  const without = new Set(exclude);
  // An answer that may not be kept still serves this connection.
  const answers = new Map<string, readonly string[]>();
  const resolved = (hostname: string): readonly string[] | undefined =>
    answers.get(hostname) ?? resolver.known(hostname);
  let refusal: OutboundDecision | undefined;
  for (let tries = 0; ; tries++) {
    const decision = decide(without, resolved);
    if (decision.kind !== "refuse") return decision;
    const { endpoint, hostname } = decision;
    if (hostname !== undefined && resolved(hostname) === undefined) {
      answers.set(hostname, await resolver.resolve(hostname));
      if (tries < mostTries) continue;
    }
    refusal ??= decision;
    // Whoever was meant in person comes up again.
    if (endpoint === undefined || without.has(endpoint) || tries >= mostTries) return refusal;
    without.add(endpoint);
  }
}

const mostTries = 16;
