/** Every policy the mesh sent, by reach: all workloads, a namespace's, or the workloads that list it (agent-wire 7.1). */
import type { Policy } from "../protocol/wds/authorization.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { PolicySet } from "./policy-set.ts";

/** The policies that one workload lists. */
export interface ListedPolicies {
  readonly set: PolicySet;
  /** The first listed key that is not known: nobody can say what it forbids. */
  readonly unknown: string | undefined;
}

/** Whose answers may differ after a change. */
export interface PolicyReach {
  everyone: boolean;
  readonly namespaces: Set<string>;
  readonly workloads: Set<string>;
}

/** Policies and the workloads that list them. Both arrive in any order. */
export class PolicyIndex {
  readonly #byKey = new Map<string, Policy>();
  readonly #global = new PolicySet();
  readonly #byNamespace = new Map<string, PolicySet>();
  /** Policy key → the uids that list it. */
  readonly #listedBy = new Map<string, Set<string>>();
  /**
   * Policy key → the uids that listed it when control took it back. For them it is gone, not unknown: the list is merely
   * older than the removal. The next word about the workload or the policy ends the exception.
   */
  readonly #withdrawn = new Map<string, Set<string>>();
  /** Built when first asked for; dropped when the workload's list or a policy on it changes. */
  readonly #listed = new Map<string, ListedPolicies>();

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): Policy | undefined {
    return this.#byKey.get(key);
  }

  get global(): PolicySet {
    return this.#global;
  }

  ofNamespace(namespace: string): PolicySet | undefined {
    return this.#byNamespace.get(namespace);
  }

  /** @param isCurrent false for a workload that was replaced or removed: the answer is then not kept, as nothing would refresh it. */
  listedBy(workload: MeshWorkload, isCurrent: boolean): ListedPolicies {
    if (!isCurrent) return this.#build(workload);
    let listed = this.#listed.get(workload.uid);
    if (listed === undefined) this.#listed.set(workload.uid, (listed = this.#build(workload)));
    return listed;
  }

  put(policy: Policy, reach: PolicyReach): void {
    this.#take(policy.key, reach);
    this.#byKey.set(policy.key, policy);
    this.#withdrawn.delete(policy.key);
    if (policy.scope === "global") this.#global.add(policy);
    if (policy.scope === "namespace") this.#namespaceSet(policy.namespace).add(policy);
    this.#touch(policy, reach);
  }

  /** False when there was none of that key. */
  remove(key: string, reach: PolicyReach): boolean {
    if (!this.#take(key, reach)) return false;
    const listing = this.#listedBy.get(key);
    if (listing) this.#withdrawn.set(key, new Set(listing));
    return true;
  }

  /** Whether the workload lists a policy that control has taken back since. */
  overlooksWithdrawn(workload: MeshWorkload): boolean {
    return this.#withdrawn.size > 0 && workload.policies.some((key) => this.#withdrawn.get(key)?.has(workload.uid));
  }

  addWorkload(workload: MeshWorkload): void {
    for (const key of workload.policies) {
      const listing = this.#listedBy.get(key);
      if (listing === undefined) this.#listedBy.set(key, new Set([workload.uid]));
      else listing.add(workload.uid);
    }
  }

  removeWorkload(workload: MeshWorkload): void {
    this.renewWorkload(workload);
    for (const key of workload.policies) dropFrom(this.#listedBy, key, workload.uid);
  }

  /** A word about a workload that lists what it listed. */
  renewWorkload(workload: MeshWorkload): void {
    this.#listed.delete(workload.uid);
    for (const key of workload.policies) dropFrom(this.#withdrawn, key, workload.uid);
  }

  #take(key: string, reach: PolicyReach): boolean {
    const policy = this.#byKey.get(key);
    if (policy === undefined) return false;
    this.#byKey.delete(key);
    if (policy.scope === "global") this.#global.remove(policy);
    if (policy.scope === "namespace") {
      const set = this.#namespaceSet(policy.namespace);
      set.remove(policy);
      if (set.isEmpty) this.#byNamespace.delete(policy.namespace);
    }
    this.#touch(policy, reach);
    return true;
  }

  #touch(policy: Policy, reach: PolicyReach): void {
    if (policy.scope === "global") reach.everyone = true;
    if (policy.scope === "namespace") reach.namespaces.add(policy.namespace);
    for (const uid of this.#listedBy.get(policy.key) ?? []) {
      reach.workloads.add(uid);
      this.#listed.delete(uid);
    }
  }

  #build(workload: MeshWorkload): ListedPolicies {
    const set = new PolicySet();
    let unknown: string | undefined;
    for (const key of new Set(workload.policies)) {
      const policy = this.#byKey.get(key);
      if (policy) set.add(policy);
      else if (!this.#withdrawn.get(key)?.has(workload.uid)) unknown ??= key;
    }
    return { set, unknown };
  }

  #namespaceSet(namespace: string): PolicySet {
    let set = this.#byNamespace.get(namespace);
    if (set === undefined) this.#byNamespace.set(namespace, (set = new PolicySet()));
    return set;
  }
}

function dropFrom(index: Map<string, Set<string>>, key: string, uid: string): void {
  const uids = index.get(key);
  uids?.delete(uid);
  if (uids?.size === 0) index.delete(key);
}
