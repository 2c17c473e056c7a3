/** Policies of one reach, arranged so that a connection is judged by those that could concern its peer, not by all. */
import type { Match, Policy, Rule } from "../protocol/wds/authorization.ts";
import { matchingRule, type RuleFacts } from "./policy-match.ts";

/** Policies of one action. One that only ever fits named peers or ports is filed under those names; the rest is always judged. */
class PolicyDrawer {
  readonly #named = new Map<string, Map<string, Policy>>();
  readonly #always = new Map<string, Policy>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(policy: Policy): void {
    this.#size++;
    const names = namesOfPolicy(policy);
    if (names === undefined) this.#always.set(policy.key, policy);
    for (const name of names ?? []) {
      const filed = this.#named.get(name);
      if (filed === undefined) this.#named.set(name, new Map([[policy.key, policy]]));
      else filed.set(policy.key, policy);
    }
  }

  remove(policy: Policy): void {
    this.#size--;
    const names = namesOfPolicy(policy);
    if (names === undefined) this.#always.delete(policy.key);
    for (const name of names ?? []) {
      const filed = this.#named.get(name);
      filed?.delete(policy.key);
      if (filed?.size === 0) this.#named.delete(name);
    }
  }

  /** The first policy that fits and that `accept` takes. */
  find(facts: RuleFacts, tally: Tally, accept: (policy: Policy) => boolean = always): Policy | undefined {
    if (this.#size === 0) return undefined;
    const found = firstFit(this.#always, facts, tally, accept);
    if (found !== undefined || this.#named.size === 0) return found;
    const filed = (name: string): Policy | undefined => firstFit(this.#named.get(name), facts, tally, accept);
    return (
      filed(`namespace ${facts.namespace}`) ??
      filed(`port ${facts.destinationPort}`) ??
      (facts.principal === undefined
        ? undefined
        : (filed(`principal ${facts.principal}`) ?? filed(`account ${facts.namespace}/${facts.serviceAccount}`)))
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
  readonly #dryRun = new PolicyDrawer();

  get isEmpty(): boolean {
    return this.#deny.size + this.#allow.size + this.#dryRun.size === 0;
  }

  /** Enforced ALLOW policies: one is enough to refuse whatever none of them admits. */
  get allowCount(): number {
    return this.#allow.size;
  }

  add(policy: Policy): void {
    this.#drawerOf(policy).add(policy);
  }

  /** Takes out a policy that was added: the same object or an equal one. */
  remove(policy: Policy): void {
    this.#drawerOf(policy).remove(policy);
  }

  findDeny(facts: RuleFacts, tally: Tally): Policy | undefined {
    return this.#deny.find(facts, tally);
  }

  findAllow(facts: RuleFacts, tally: Tally): Policy | undefined {
    return this.#allow.find(facts, tally);
  }

  /** Every policy in its trial that fits. */
  fittingDryRuns(facts: RuleFacts, tally: Tally): ReadonlySet<Policy> {
    if (this.#dryRun.size === 0) return none;
    const fitting = new Set<Policy>();
    this.#dryRun.find(facts, tally, (policy) => {
      fitting.add(policy);
      return false;
    });
    return fitting;
  }

  #drawerOf(policy: Policy): PolicyDrawer {
    if (policy.dryRun) return this.#dryRun;
    return policy.action === "deny" ? this.#deny : this.#allow;
  }
}

function firstFit(
  policies: ReadonlyMap<string, Policy> | undefined,
  facts: RuleFacts,
  tally: Tally,
  accept: (policy: Policy) => boolean,
): Policy | undefined {
  if (policies === undefined) return undefined;
  for (const policy of policies.values()) {
    tally.judged++;
    if (matchingRule(policy, facts) && accept(policy)) return policy;
  }
  return undefined;
}

function always(): boolean {
  return true;
}

/**
 * The only peers or ports that a policy can fit, as the names it is filed under; undefined where it might fit others too.
 * It cannot when each rule has a clause whose every match names principals, service accounts, namespaces or ports exactly.
 */
function namesOfPolicy(policy: Policy): Set<string> | undefined {
  const names = new Set<string>();
  for (const rule of policy.rules) {
    // Many policies may share a port; few share a peer.
    const selective = namesOfRule(rule, peersOf) ?? namesOfRule(rule, portsOf);
    if (selective === undefined) return undefined;
    for (const name of selective) names.add(name);
  }
  return names;
}

/** The names of the first clause that nothing but its names can satisfy. */
function namesOfRule({ clauses }: Rule, namesOf: (match: Match) => string[] | undefined): string[] | undefined {
  for (const { matches } of clauses) {
    const names = matches.map(namesOf);
    if (names.length > 0 && names.every((some) => some !== undefined)) return names.flat();
  }
  return undefined;
}

function peersOf({ principals, serviceAccounts, namespaces }: Match): string[] | undefined {
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

function portsOf({ destinationPorts }: Match): string[] | undefined {
  return destinationPorts.length > 0 ? destinationPorts.map((port) => `port ${port}`) : undefined;
}

const none: ReadonlySet<Policy> = new Set();
