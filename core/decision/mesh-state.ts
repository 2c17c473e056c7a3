/**
 * The mesh as one worker knows it: workloads, services and policies, indexed by every way a connection asks for them.
 * apply() costs what it touches, and the state depends on what was sent, not on the order in which it came
 * (but for one thing, told in policy-index.ts: a list that is older than a policy's removal).
 */
import type { Policy } from "../protocol/wds/authorization.ts";
import { CompactWorkload } from "../protocol/wds/compact-workload.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { AddressIndex } from "./address-index.ts";
import { isFiledAlike } from "./filed-alike.ts";
import { EndpointIndex, type EndpointView } from "./endpoint-index.ts";
import { demandsOtherwise, isJudgedDifferently } from "./judged-differently.ts";
import { NameIndex } from "./name-index.ts";
import { PolicyIndex, type ListedPolicies, type PolicyReach } from "./policy-index.ts";
import type { PolicySet } from "./policy-set.ts";
import { ServiceIndex, type ServiceMatch } from "./service-index.ts";

/** Plain data: crosses threads by structured clone. Removals come first, so a name that is also sent anew stays. */
export interface MeshUpdate {
  readonly workloads?: readonly MeshWorkload[];
  readonly services?: readonly MeshService[];
  readonly policies?: readonly Policy[];
  readonly removed?: {
    /** xDS resource names: workload uids and `namespace/hostname` of services. */
    readonly addresses?: readonly string[];
    /** `namespace/name`. */
    readonly policies?: readonly string[];
  };
  /** More of the same update follows: an address that changes hands in it has its old owner until it has its new one. */
  readonly isUnfinished?: true;
  /** From here on nobody is judged without policies that were in force before: see `awaitsPolicies`. */
  readonly policiesComplete?: true;
}

/** What an update added, replaced or removed. */
export interface MeshChange {
  /** By uid. */
  readonly workloads: ReadonlySet<string>;
  /** By `namespace/hostname`: services that changed themselves, not those whose endpoints did. */
  readonly services: ReadonlySet<string>;
  /** By `namespace/name`. */
  readonly policies: ReadonlySet<string>;
  /** Whose connections must be judged again. */
  readonly authorization: Readonly<PolicyReach>;
}

export class MeshState {
  readonly #workloads = new Map<string, MeshWorkload>();
  readonly #names = new NameIndex<MeshWorkload>((workload) => workload.uid);
  /** Workloads that have a hostname of their own. */
  readonly #byHostname = new Map<string, Map<string, MeshWorkload>>();
  readonly #addresses = new AddressIndex();
  readonly #endpoints = new EndpointIndex();
  readonly #services = new ServiceIndex();
  readonly #policies = new PolicyIndex();
  #awaitsPolicies: boolean;

  /** @param options.awaitsPolicies nobody is let in until an update says that policies are complete. */
  constructor({ awaitsPolicies = false } = {}) {
    this.#awaitsPolicies = awaitsPolicies;
  }

  apply(update: MeshUpdate): MeshChange {
    const change = {
      workloads: new Set<string>(),
      services: new Set<string>(),
      policies: new Set<string>(),
      authorization: { everyone: false, namespaces: new Set<string>(), workloads: new Set<string>() },
    };
    for (const name of update.removed?.addresses ?? []) {
      const service = this.#services.remove(name);
      if (service) change.services.add(name);
      if (demandsOtherwise(service, undefined)) this.#judgeEndpoints(name, change.authorization);
      if (!this.#removeWorkload(name)) continue;
      change.workloads.add(name);
      change.authorization.workloads.add(name);
    }
    for (const key of update.removed?.policies ?? []) {
      if (this.#policies.remove(key, change.authorization)) change.policies.add(key);
    }
    for (const policy of update.policies ?? []) {
      this.#policies.put(policy, change.authorization);
      change.policies.add(policy.key);
    }
    for (const service of update.services ?? []) {
      const before = this.#services.remove(service.key);
      this.#services.add(service);
      if (before !== undefined && update.isUnfinished) this.#services.linger(before);
      change.services.add(service.key);
      if (demandsOtherwise(before, service)) this.#judgeEndpoints(service.key, change.authorization);
    }
    for (const workload of update.workloads ?? []) {
      const { uid } = workload;
      const before = this.#workloads.get(uid);
      const isJudgedAnew =
        !before || isJudgedDifferently(before, workload) || this.#policies.overlooksWithdrawn(before);
      if (before !== undefined && isFiledAlike(before, workload)) {
        this.#replaceWorkload(before, hasRetold(before, workload) ? before : workload);
      } else {
        this.#removeWorkload(uid);
        this.#addWorkload(workload);
        if (before !== undefined && update.isUnfinished) this.#addresses.linger(before);
      }
      change.workloads.add(uid);
      if (isJudgedAnew) change.authorization.workloads.add(uid);
    }
    if (!update.isUnfinished) {
      this.#addresses.letGo();
      this.#services.letGo();
    }
    if (update.policiesComplete) this.#awaitsPolicies = false;
    return change;
  }

  /** Control has not sent its policies yet: of those that no workload lists nobody can know that they are missing. */
  get awaitsPolicies(): boolean {
    return this.#awaitsPolicies;
  }

  get counts(): { readonly workloads: number; readonly services: number; readonly policies: number } {
    return { workloads: this.#workloads.size, services: this.#services.size, policies: this.#policies.size };
  }

  workload(uid: string): MeshWorkload | undefined {
    return this.#workloads.get(uid);
  }

  workloads(): IterableIterator<MeshWorkload> {
    return this.#workloads.values();
  }

  /** The workload that a pod of this name is; of several (one name in two clusters) the smallest uid. */
  workloadOf(namespace: string, name: string, serviceAccount?: string): MeshWorkload | undefined {
    let found: MeshWorkload | undefined;
    for (const workload of this.#names.of(namespace, name)) {
      if (serviceAccount !== undefined && workload.serviceAccount !== serviceAccount) continue;
      if (found === undefined || workload.uid < found.uid) found = workload;
    }
    return found;
  }

  workloadByAddress(network: string, address: string): MeshWorkload | undefined {
    return this.#addresses.find(network, address);
  }

  /** @param key `namespace/hostname`. */
  service(key: string): MeshService | undefined {
    return this.#services.get(key);
  }

  services(): IterableIterator<MeshService> {
    return this.#services.values();
  }

  serviceByAddress(network: string, address: string, clientNamespace: string): ServiceMatch | undefined {
    return this.#services.findByAddress(network, address, clientNamespace);
  }

  serviceByHostname(hostname: string, clientNamespace: string): MeshService | undefined {
    return this.#services.findByHostname(hostname, clientNamespace);
  }

  /** Every service of that hostname, whoever may see it. */
  servicesByHostname(hostname: string): Iterable<MeshService> {
    return this.#services.byHostname(hostname);
  }

  /** Workloads behind a service that its health policy lets in. */
  endpoints(service: MeshService): ReadonlyMap<string, MeshWorkload> {
    return this.endpointView(service).workloads;
  }

  /** The same, with what is known of them together. */
  endpointView(service: MeshService): EndpointView {
    return this.#endpoints.of(service.key, service.loadBalancing?.allowUnhealthy ?? false);
  }

  /** Workloads behind a service, whatever their health. */
  workloadsBehind(serviceKey: string): Iterable<MeshWorkload> {
    return this.#endpoints.behind(serviceKey);
  }

  /** How many workloads are behind a service, whatever their health. */
  endpointCount(serviceKey: string): number {
    return this.#endpoints.count(serviceKey);
  }

  /** What a waypoint or gateway reference names: services before workloads for a hostname, workloads first for an address. */
  gateway(destination: GatewayRef["destination"], clientNamespace: string): MeshService | MeshWorkload | undefined {
    if (destination.kind === "address") {
      const { network, address } = destination;
      return (
        this.workloadByAddress(network, address) ?? this.serviceByAddress(network, address, clientNamespace)?.service
      );
    }
    const { namespace, hostname } = destination;
    const service = this.service(`${namespace}/${hostname}`);
    if (service) return service;
    let found: MeshWorkload | undefined;
    for (const workload of this.#byHostname.get(hostname)?.values() ?? []) {
      if (workload.namespace !== namespace) continue;
      if (found === undefined || workload.uid < found.uid) found = workload;
    }
    return found;
  }

  policy(key: string): Policy | undefined {
    return this.#policies.get(key);
  }

  get globalPolicies(): PolicySet {
    return this.#policies.global;
  }

  policiesOfNamespace(namespace: string): PolicySet | undefined {
    return this.#policies.ofNamespace(namespace);
  }

  policiesListedBy(workload: MeshWorkload): ListedPolicies {
    return this.#policies.listedBy(workload, this.#workloads.get(workload.uid) === workload);
  }

  #judgeEndpoints(serviceKey: string, reach: PolicyReach): void {
    for (const { uid } of this.workloadsBehind(serviceKey)) reach.workloads.add(uid);
  }

  #addWorkload(workload: MeshWorkload): void {
    this.#workloads.set(workload.uid, workload);
    this.#names.add(workload.namespace, workload.name, workload);
    if (workload.hostname !== "") put(this.#byHostname, workload.hostname, workload);
    this.#addresses.add(workload);
    this.#endpoints.add(workload);
    this.#policies.addWorkload(workload);
  }

  /** Of two that are found by the same keys: no index grows, shrinks or is put in another order. */
  #replaceWorkload(before: MeshWorkload, workload: MeshWorkload): void {
    if (before !== workload) {
      this.#workloads.set(workload.uid, workload);
      this.#names.replace(workload.namespace, workload.name, workload);
      if (workload.hostname !== "") put(this.#byHostname, workload.hostname, workload);
      this.#addresses.replace(before, workload);
    }
    this.#endpoints.add(workload);
    this.#policies.renewWorkload(workload);
  }

  #removeWorkload(uid: string): MeshWorkload | undefined {
    const workload = this.#workloads.get(uid);
    if (workload === undefined) return undefined;
    this.#workloads.delete(uid);
    this.#names.remove(workload.namespace, workload.name, uid);
    if (workload.hostname !== "") drop(this.#byHostname, workload.hostname, uid);
    this.#addresses.remove(workload);
    this.#endpoints.remove(workload);
    this.#policies.removeWorkload(workload);
    return workload;
  }
}

function hasRetold(before: MeshWorkload, workload: MeshWorkload): boolean {
  return before instanceof CompactWorkload && workload instanceof CompactWorkload && before.retell(workload);
}

function put(index: Map<string, Map<string, MeshWorkload>>, at: string, workload: MeshWorkload): void {
  const workloads = index.get(at);
  if (workloads === undefined) index.set(at, new Map([[workload.uid, workload]]));
  else workloads.set(workload.uid, workload);
}

function drop(index: Map<string, Map<string, MeshWorkload>>, at: string, uid: string): void {
  const workloads = index.get(at);
  workloads?.delete(uid);
  if (workloads?.size === 0) index.delete(at);
}
