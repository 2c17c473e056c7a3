/** A decision that hangs on what a name resolves to: looked up, and decided again. */
import type { OutboundDecision } from "../../core/decision/route.ts";
import type { HostResolver } from "./resolver.ts";

/** The decision once more, without these endpoints and with what names are known to resolve to. */
export type Decide = (
  exclude: ReadonlySet<string>,
  resolved: (hostname: string) => readonly string[] | undefined,
) => OutboundDecision;

/** An endpoint whose name has no address is passed over for another; the refusal names it where there is no other. */
export async function decideByName(
  resolver: Pick<HostResolver, "known" | "resolve">,
  exclude: ReadonlySet<string> | undefined,
  decide: Decide,
): Promise<OutboundDecision> {
  const without = new Set(exclude);
  // An answer that may not be kept still serves this connection.
  const answers = new Map<string, readonly string[]>();
  const resolved = (hostname: string): readonly string[] | undefined =>
    answers.get(hostname) ?? resolver.known(hostname);
  let unresolved: OutboundDecision | undefined;
  for (let asked = 0; ; asked++) {
    const decision = decide(without, resolved);
    if (decision.kind !== "refuse") return decision;
    if (decision.unresolved === undefined || asked === mostNames) return unresolved ?? decision;
    const { hostname, uid } = decision.unresolved;
    const addresses = resolved(hostname) ?? (await resolver.resolve(hostname));
    answers.set(hostname, addresses);
    if (addresses.length > 0) continue;
    unresolved ??= decision;
    without.add(uid);
  }
}

const mostNames = 8;
