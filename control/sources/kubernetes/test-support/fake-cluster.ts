/**
 * What an API server knows, in memory: objects with resourceVersions, a history that watches read from and that can be
 * compacted, optimistic locking, merge patches, and as much of server-side apply as conditions need. No HTTP here.
 */
import { isRecord } from "../../fields.ts";
import type { RawObject } from "../raw-object.ts";

export type Json = Record<string, unknown>;
export type FakeObject = { metadata: Json; [field: string]: unknown };

export interface FakeEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly collection: string;
  readonly version: number;
  readonly object: FakeObject;
}

/** A refusal, as the body of a meta/v1 Status. */
export class Refusal {
  readonly code: number;
  readonly reason: string;
  readonly message: string;

  constructor(code: number, reason: string, message: string) {
    this.code = code;
    this.reason = reason;
    this.message = message;
  }

  status(): Json {
    const { code, reason, message } = this;
    return { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message };
  }
}

/** `/api/v1/pods`: paths without their namespace. */
export type Collection = string;

export class FakeCluster {
  version = 100;
  /** Events up to this version are forgotten. */
  compacted = 100;
  readonly objects = new Map<Collection, Map<string, FakeObject>>();
  readonly history: FakeEvent[] = [];
  /** Collections that exist; others answer 404. Undefined: all do. */
  known: Set<Collection> | undefined;
  /** Collections whose `status.conditions` is no map by type: applied as a whole. */
  readonly wholeLists = new Set<Collection>();
  readonly #listeners = new Set<() => void>();
  #uids = 0;

  /** Called after every change. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  exists(collection: Collection): boolean {
    return this.known?.has(collection) ?? true;
  }

  all(collection: Collection): FakeObject[] {
    return [...(this.objects.get(collection)?.values() ?? [])];
  }

  get(collection: Collection, key: string): FakeObject | undefined {
    return this.objects.get(collection)?.get(key);
  }

  /** Creates or replaces, whatever stands there. */
  put(collection: Collection, object: RawObject): FakeObject {
    const copy = structuredClone(object) as FakeObject;
    const key = keyIn(copy);
    const before = this.get(collection, key);
    copy.metadata["uid"] = before?.metadata["uid"] ?? copy.metadata["uid"] ?? `uid-${++this.#uids}`;
    copy.metadata["managedFields"] ??= before?.metadata["managedFields"] ?? [];
    return this.#store(collection, copy, before === undefined ? "ADDED" : "MODIFIED");
  }

  remove(collection: Collection, key: string): FakeObject | undefined {
    const before = this.get(collection, key);
    if (before === undefined) return undefined;
    this.objects.get(collection)?.delete(key);
    const object = structuredClone(before);
    this.version++;
    object.metadata["resourceVersion"] = String(this.version);
    this.#say({ type: "DELETED", collection, version: this.version, object });
    return object;
  }

  /** Forgets the history so far: watches from an earlier version are answered with 410. */
  compact(): void {
    this.compacted = this.version;
    this.history.length = 0;
  }

  /** The collection goes with all its objects, as when a CRD is deleted. */
  forgetKind(collection: Collection): void {
    this.known ??= new Set(this.objects.keys());
    for (const object of this.all(collection)) this.remove(collection, keyIn(object));
    this.known.delete(collection);
    for (const listener of this.#listeners) listener();
  }

  create(collection: Collection, object: RawObject): FakeObject | Refusal {
    if (this.get(collection, keyIn(object as FakeObject)) !== undefined)
      return new Refusal(409, "AlreadyExists", `${keyIn(object as FakeObject)} already exists`);
    return this.put(collection, object);
  }

  replace(collection: Collection, key: string, object: RawObject): FakeObject | Refusal {
    const before = this.get(collection, key);
    if (before === undefined) return new Refusal(404, "NotFound", `${key} not found`);
    const wanted = (object as FakeObject).metadata["resourceVersion"];
    if (wanted !== undefined && wanted !== before.metadata["resourceVersion"])
      return new Refusal(409, "Conflict", "the object has been modified");
    return this.put(collection, object);
  }

  mergePatch(collection: Collection, key: string, patch: Json): FakeObject | Refusal {
    const before = this.get(collection, key);
    if (before === undefined) return new Refusal(404, "NotFound", `${key} not found`);
    const refused = precondition(before, patch, new Refusal(422, "Invalid", "metadata.uid: field is immutable"));
    if (refused !== undefined) return refused;
    return this.#change(collection, before, merge(before, patch) as FakeObject);
  }

  /** Server-side apply of `status`, conditions by type or as a whole list, other fields each whole. Others' conditions stay unless forced. */
  apply(collection: Collection, key: string, patch: Json, manager: string): FakeObject | Refusal {
    const before = this.get(collection, key);
    if (before === undefined) return new Refusal(404, "NotFound", `${key} not found`);
    const refused = precondition(before, patch);
    if (refused !== undefined) return refused;
    const after = structuredClone(before);
    const status = isRecord(patch["status"]) ? patch["status"] : {};
    const said = Array.isArray(status["conditions"]) ? (status["conditions"] as Json[]) : undefined;
    const owners = ownersOf(after);
    const types = said?.map(({ type }) => String(type)) ?? [];
    const dropped = (owners[manager] ?? []).filter((type) => !types.includes(type));
    const standing = conditionsOf(after);
    const whole = this.wholeLists.has(collection);
    const kept = whole && said !== undefined ? [] : standing.filter(({ type }) => !dropped.includes(String(type)));
    const next = [...kept.filter(({ type }) => !types.includes(String(type))), ...(said ?? [])];
    if (said === undefined) delete owners[manager];
    else owners[manager] = types;
    const fields = fieldsOf(after);
    const others = { ...(isRecord(after["status"]) ? after["status"] : {}) };
    for (const name of fields[manager] ?? []) delete others[name];
    fields[manager] = Object.keys(status).filter((name) => name !== "conditions");
    after["status"] = { ...others, ...status, conditions: next };
    if (next.length === 0) delete (after["status"] as Json)["conditions"];
    after.metadata["managedFields"] = [...new Set([...Object.keys(owners), ...Object.keys(fields)])]
      .filter((name) => name in owners || (fields[name] ?? []).length > 0)
      .map((name) => ({ manager: name, owned: owners[name] ?? [], fields: fields[name] ?? [] }));
    return this.#change(collection, before, after);
  }

  /** Writing what stands already changes nothing, not even the version. */
  #change(collection: Collection, before: FakeObject, after: FakeObject): FakeObject {
    return JSON.stringify(before) === JSON.stringify(after) ? before : this.#store(collection, after, "MODIFIED");
  }

  #store(collection: Collection, object: FakeObject, type: "ADDED" | "MODIFIED"): FakeObject {
    this.version++;
    object.metadata["resourceVersion"] = String(this.version);
    const table = this.objects.get(collection) ?? new Map<string, FakeObject>();
    table.set(keyIn(object), object);
    this.objects.set(collection, table);
    this.#say({ type, collection, version: this.version, object: structuredClone(object) });
    return object;
  }

  #say(event: FakeEvent): void {
    this.history.push(event);
    for (const listener of this.#listeners) listener();
  }
}

export function keyIn(object: FakeObject): string {
  const { namespace, name } = object.metadata;
  return `${typeof namespace === "string" ? namespace : ""}/${String(name)}`;
}

function precondition(object: FakeObject, patch: Json, otherUid = conflict): Refusal | undefined {
  const { uid, resourceVersion } = isRecord(patch["metadata"]) ? patch["metadata"] : {};
  if (uid !== undefined && uid !== object.metadata["uid"]) return otherUid;
  const stale = resourceVersion !== undefined && resourceVersion !== object.metadata["resourceVersion"];
  return stale ? conflict : undefined;
}

const conflict = new Refusal(409, "Conflict", "the precondition failed");

function ownersOf(object: FakeObject): Record<string, string[]> {
  const fields = object.metadata["managedFields"];
  const entries = Array.isArray(fields) ? (fields as { manager: string; owned: string[] }[]) : [];
  return Object.fromEntries(entries.map(({ manager, owned }) => [manager, owned]));
}

/** Names of fields of `status`, besides conditions. */
function fieldsOf(object: FakeObject): Record<string, string[]> {
  const entries = object.metadata["managedFields"];
  const known = Array.isArray(entries) ? (entries as { manager: string; fields?: string[] }[]) : [];
  return Object.fromEntries(known.map(({ manager, fields }) => [manager, fields ?? []]));
}

function conditionsOf(object: FakeObject): Json[] {
  const status = isRecord(object["status"]) ? object["status"] : {};
  return Array.isArray(status["conditions"]) ? (status["conditions"] as Json[]) : [];
}

function merge(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Json = isRecord(target) ? { ...structuredClone(target) } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merge(result[key], value);
  }
  return result;
}
