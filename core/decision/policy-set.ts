/** Policies of one reach, arranged so that a connection is judged by those that could concern its peer, not by all. */
import type { Match, Policy } from "../protocol/wds/authorization.ts";
import { matchingRule, type RuleFacts } from "./policy-match.ts";

/** Enforced policies of one action. A policy that only ever fits named peers is filed under those names; the rest is always judged. */
class PolicyDrawer {
  readonly #named = new Map<string, Map<string, Policy>>();
  readonly #always = new Map<string, Policy>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(policy: Policy): void {
    this.#size++;
    const names = peersOf(policy);
    if (names === undefined) this.#always.set(policy.key, policy);
    for (const name of names ?? []) {
      const filed = this.#named.get(name);
      if (filed === undefined) this.#named.set(name, new Map([[policy.key, policy]]));
      else filed.set(policy.key, policy);
    }
  }

  remove(policy: Policy): void {
    this.#size--;
    const names = peersOf(policy);
    if (names === undefined) this.#always.delete(policy.key);
    for (const name of names ?? []) {
      const filed = this.#named.get(name);
      filed?.delete(policy.key);
      if (filed?.size === 0) this.#named.delete(name);
    }
  }

  find(facts: RuleFacts, tally: Tally): Policy | undefined {
    return (
      firstFit(this.#always.values(), facts, tally) ??
      firstFit(this.#named.get(`namespace ${facts.namespace}`)?.values(), facts, tally) ??
      (facts.principal === undefined
        ? undefined
        : (firstFit(this.#named.get(`principal ${facts.principal}`)?.values(), facts, tally) ??
          firstFit(this.#named.get(`account ${facts.namespace}/${facts.serviceAccount}`)?.values(), facts, tally)))
    );
  }
}

/** Counts the policies whose rules were looked at, so that a test can hold the index to its promise. */
export interface Tally {
  judged: number;
}

/** Policies that apply together: mesh-wide ones, a namespace's, or those one workload lists. */
export class PolicySet {
  readonly #deny = new PolicyDrawer();
  readonly #allow = new PolicyDrawer();
  /** Judged and reported, never enforced. */
  readonly #dryRun = new Map<string, Policy>();

  get isEmpty(): boolean {
    return this.#deny.size + this.#allow.size + this.#dryRun.size === 0;
  }

  /** Enforced ALLOW policies: one is enough to refuse whatever none of them admits. */
  get allowCount(): number {
    return this.#allow.size;
  }

  add(policy: Policy): void {
    if (policy.dryRun) this.#dryRun.set(policy.key, policy);
    else this.#drawerOf(policy).add(policy);
  }

  /** Takes out a policy that was added: the same object or an equal one. */
  remove(policy: Policy): void {
    if (policy.dryRun) this.#dryRun.delete(policy.key);
    else this.#drawerOf(policy).remove(policy);
  }

  findDeny(facts: RuleFacts, tally: Tally): Policy | undefined {
    return this.#deny.find(facts, tally);
  }

  findAllow(facts: RuleFacts, tally: Tally): Policy | undefined {
    return this.#allow.find(facts, tally);
  }

  dryRuns(): Iterable<Policy> {
    return this.#dryRun.values();
  }

  #drawerOf(policy: Policy): PolicyDrawer {
    return policy.action === "deny" ? this.#deny : this.#allow;
  }
}

function firstFit(policies: Iterable<Policy> | undefined, facts: RuleFacts, tally: Tally): Policy | undefined {
  for (const policy of policies ?? []) {
    tally.judged++;
    if (matchingRule(policy, facts)) return policy;
  }
  return undefined;
}

/**
 * The only peers that a policy can fit, as the names it is filed under; undefined where it might fit others too.
 * It cannot when each rule has a clause whose every match names principals, service accounts or namespaces exactly.
 */
function peersOf(policy: Policy): Set<string> | undefined {
  const names = new Set<string>();
  for (const rule of policy.rules) {
    const selective = rule.clauses.find(
      ({ matches }) => matches.length > 0 && matches.every((match) => namesOf(match) !== undefined),
    );
    if (selective === undefined) return undefined;
    for (const match of selective.matches) for (const name of namesOf(match) ?? []) names.add(name);
  }
  return names;
}

function namesOf(match: Match): string[] | undefined {
  const { principals, serviceAccounts, namespaces } = match;
  if (serviceAccounts.length > 0) {
    return serviceAccounts.map((account) => `account ${account.namespace}/${account.serviceAccount}`);
  }
  for (const [kind, items] of [
    ["principal", principals],
    ["namespace", namespaces],
  ] as const) {
    if (items.length === 0) continue;
    const exact = items.flatMap((item) => (item.kind === "exact" ? [`${kind} ${item.value}`] : []));
    if (exact.length === items.length) return exact;
  }
  return undefined;
}
