/**
 * The mesh as resources: objects in, what agents must be told out. Every resource belongs to a row, a pure function of
 * the objects it looked at; a change computes only those rows again that looked at something that changed, and says
 * only what came out different.
 */
import type { StatusRow } from "../../sources/conditions.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { refKey, refOf, type ObjectDelta } from "../../sources/source.ts";
import { convertPolicy } from "./authorization.ts";
import { bindingConditions, bindingOf, unbound, type Binding } from "./bindings.ts";
import { canaryOf, type Canary } from "./canary.ts";
import type { Reader } from "./collections.ts";
import { defaultMeshConfig, Inputs, keyOf, type MeshConfig } from "./inputs.ts";
import { portPolicy, strictPolicy } from "./peer-authentication.ts";
import { derivePod } from "./pods.ts";
import { authorizationResource, serviceResource, workloadResource, type Resource } from "./resources.ts";
import { claimsOf, deriveService, isMeshService, type Claimant } from "./services.ts";
import { peerStatus, policyStatus, waypointBound } from "./status.ts";
import { deriveEntryEndpoints, deriveSlice, deriveWorkloadEntry } from "./workload-entries.ts";

/** What became different. Only types and objects of which something did are in it. */
export interface ModelChange {
  readonly resources: ReadonlyMap<string, TypeChange>;
  readonly statuses: readonly StatusRow[];
  /** How many rows were computed: what the step cost. */
  readonly rows: number;
}

export interface TypeChange {
  /** In order of name. */
  readonly changed: readonly Resource[];
  readonly removed: readonly string[];
}

/** What one row came to; undefined when its object is gone. */
interface RowOutput {
  readonly resources: readonly Resource[];
  readonly status: StatusRow | undefined;
}

/** `binding` is what a Service or ServiceEntry is told; the resources it claims are rows of their own, one per host name. */
type RowKind =
  | "pod"
  | "workload-entry"
  | "endpoints"
  | "slice"
  | "service"
  | "service-binding"
  | "entry-binding"
  | "policy"
  | "peer"
  | "strict";

export class Model {
  readonly #inputs: Inputs;
  readonly #rows = new Map<string, RowOutput>();
  readonly #resources = new Map<string, Map<string, Resource>>();
  /** Conditions as last told, as JSON, by object. */
  readonly #told = new Map<string, string>();

  constructor(config: MeshConfig = defaultMeshConfig) {
    this.#inputs = new Inputs(config);
  }

  /** Takes a batch of changes in. The batch is one step: nothing between its first and last delta is ever told. */
  apply(deltas: Iterable<ObjectDelta>): ModelChange {
    const { dependencies } = this.#inputs;
    const gone = new Set<string>();
    for (const delta of deltas) {
      const ref = refKey(refOf(delta.object));
      if (delta.op === "put") gone.delete(ref);
      else gone.add(ref);
      // A namesake that comes later has been told nothing.
      if (delta.op === "removed") this.#told.delete(ref);
      for (const row of this.#rowsOf(delta.object)) dependencies.invalidate(row);
      this.#inputs.take(delta);
    }
    const changes = new Changes();
    const statuses = new Map<string, StatusRow>();
    const stale = dependencies.takeStale();
    for (const row of stale) {
      const before = this.#rows.get(row);
      const after = dependencies.track(row, (reader) => this.#derive(row, reader));
      if (after === undefined) {
        dependencies.forget(row);
        this.#rows.delete(row);
      } else this.#rows.set(row, after);
      for (const resource of before?.resources ?? []) changes.before(resource);
      for (const resource of after?.resources ?? []) changes.after(resource);
      if (after?.status !== undefined) statuses.set(refKey(after.status.ref), after.status);
    }
    for (const ref of gone) statuses.delete(ref);
    const resources = changes.settle();
    this.#keep(resources);
    return { resources, statuses: [...statuses.values()].filter((status) => this.#isNews(status)), rows: stale.length };
  }

  /** Everything of one type, by name. Changes with the next `apply`. */
  resources(typeUrl: string): ReadonlyMap<string, Resource> {
    return this.#resources.get(typeUrl) ?? new Map<string, Resource>();
  }

  /** Rows that must be looked at because of this object itself, whoever else may be concerned. */
  #rowsOf(object: KubeObject): string[] {
    const key = keyOf(object);
    switch (object.kind) {
      case "Pod":
        return [rowKey("pod", key)];
      case "WorkloadEntry":
        return [rowKey("workload-entry", key)];
      case "EndpointSlice":
        return [rowKey("slice", key)];
      case "Service":
        return [rowKey("service-binding", key), ...this.#claimRows(object)];
      case "ServiceEntry":
        return [rowKey("entry-binding", key), rowKey("endpoints", key), ...this.#claimRows(object)];
      case "AuthorizationPolicy":
        return [rowKey("policy", key)];
      case "PeerAuthentication":
        return [rowKey("peer", key), rowKey("strict", "")];
      case "Namespace":
      case "Node":
      case "ServiceAccount":
      case "Gateway":
      case "GatewayClass":
        return [];
    }
  }

  #claimRows(object: Claimant): string[] {
    return claimsOf(object, this.#inputs).map((claim) => rowKey("service", claim));
  }

  #derive(row: string, reader: Reader): RowOutput | undefined {
    const colon = row.indexOf(":");
    const kind = row.slice(0, colon) as RowKind;
    const key = row.slice(colon + 1);
    const inputs = this.#inputs;
    switch (kind) {
      case "pod": {
        if (inputs.pods.get(reader, key) === undefined) return undefined;
        const workload = derivePod(reader, inputs, key);
        return output(workload && workloadResource(workload));
      }
      case "workload-entry": {
        const entry = inputs.workloadEntries.get(reader, key);
        if (entry === undefined) return undefined;
        const { workload, binding } = deriveWorkloadEntry(reader, inputs, entry);
        return this.#tell(entry, binding, noCanary, workload && workloadResource(workload));
      }
      case "endpoints":
        if (inputs.serviceEntries.get(reader, key) === undefined) return undefined;
        return output(...deriveEntryEndpoints(reader, inputs, key).map(workloadResource));
      case "slice":
        if (inputs.slices.get(reader, key) === undefined) return undefined;
        return output(...deriveSlice(reader, inputs, key).map(workloadResource));
      case "service": {
        const service = deriveService(reader, inputs, key);
        return service && output(serviceResource(service));
      }
      case "service-binding": {
        const service = inputs.services.get(reader, key);
        if (service === undefined) return undefined;
        const binding = isMeshService(service) ? bindingOf(reader, inputs, service.metadata, "service") : unbound;
        return this.#tell(service, binding, canaryOf(reader, inputs, service.metadata, binding));
      }
      case "entry-binding": {
        const entry = inputs.serviceEntries.get(reader, key);
        if (entry === undefined) return undefined;
        const binding = bindingOf(reader, inputs, entry.metadata, "service");
        return this.#tell(entry, binding, canaryOf(reader, inputs, entry.metadata, binding));
      }
      case "policy": {
        const policy = inputs.policies.get(reader, key);
        if (policy === undefined) return undefined;
        const converted = convertPolicy(policy, inputs.config.rootNamespace);
        const resource = converted.authorization && authorizationResource(converted.authorization);
        return { ...output(resource), status: policyStatus(policy, converted) };
      }
      case "peer": {
        const peer = inputs.peerAuthentications.get(reader, key);
        if (peer === undefined) return undefined;
        const policy = portPolicy(reader, inputs, peer);
        return { ...output(policy && authorizationResource(policy)), status: peerStatus(peer) };
      }
      case "strict": {
        const policy = strictPolicy(reader, inputs);
        return output(policy && authorizationResource(policy));
      }
    }
  }

  #tell(object: KubeObject, binding: Binding, canary: Canary, resource?: Resource): RowOutput {
    const conditions = bindingConditions(binding, canary, this.#inputs.config.danglingWaypoints);
    return { ...output(resource), status: { ref: refOf(object), owned: [waypointBound], conditions } };
  }

  #keep(changes: ReadonlyMap<string, TypeChange>): void {
    for (const [typeUrl, { changed, removed }] of changes) {
      const resources = this.#resources.get(typeUrl) ?? new Map<string, Resource>();
      this.#resources.set(typeUrl, resources);
      for (const resource of changed) resources.set(resource.name, resource);
      for (const name of removed) resources.delete(name);
    }
  }

  #isNews(status: StatusRow): boolean {
    const key = refKey(status.ref);
    const text = JSON.stringify(status.conditions);
    if (this.#told.get(key) === text) return false;
    this.#told.set(key, text);
    return true;
  }
}

/** Resources of the touched rows before and after: a name may move from one row to another within a step. */
class Changes {
  readonly #before = new Map<string, Resource>();
  readonly #after = new Map<string, Resource>();

  before(resource: Resource): void {
    this.#before.set(identity(resource), resource);
  }

  after(resource: Resource): void {
    this.#after.set(identity(resource), resource);
  }

  settle(): Map<string, TypeChange> {
    const types = new Map<string, { changed: Resource[]; removed: string[] }>();
    const of = (typeUrl: string): { changed: Resource[]; removed: string[] } => {
      const known = types.get(typeUrl) ?? { changed: [], removed: [] };
      types.set(typeUrl, known);
      return known;
    };
    for (const [key, resource] of this.#after)
      if (this.#before.get(key)?.version !== resource.version) of(resource.typeUrl).changed.push(resource);
    for (const [key, resource] of this.#before)
      if (!this.#after.has(key)) of(resource.typeUrl).removed.push(resource.name);
    for (const change of types.values()) {
      change.changed.sort((a, b) => (a.name < b.name ? -1 : 1));
      change.removed.sort();
    }
    return types;
  }
}

function identity(resource: Resource): string {
  return `${resource.typeUrl} ${resource.name}`;
}

function rowKey(kind: RowKind, key: string): string {
  return `${kind}:${key}`;
}

function output(...resources: readonly (Resource | undefined)[]): RowOutput {
  return { resources: resources.flatMap((resource) => resource ?? []), status: undefined };
}

const noCanary: Canary = { kind: "none" };
