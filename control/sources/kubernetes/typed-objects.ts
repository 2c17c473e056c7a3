/**
 * A cluster's objects as typed views. An object whose newest version cannot be understood keeps its last good spec; a
 * policy that never had one is replaced by one that refuses: as in a folder of manifests (object-store.ts).
 */
import { isDeepStrictEqual } from "node:util";
import { parseObject } from "../object-parsers.ts";
import { effectOf } from "../object-store.ts";
import { ObjectTables } from "../object-tables.ts";
import type { Fault, Kind, KubeObject } from "../objects.ts";
import { fieldPath, type ObjectDelta, type ObjectRef, type Snapshot, type SourceProblem } from "../source.ts";
import { apiVersionOf } from "./paths.ts";
import { identityOf, type RawObject } from "./raw-object.ts";
import type { RawDelta } from "./reflector-core.ts";
import { specIn } from "./spec-in-force.ts";

/** The spec of an object's newest good version. */
interface GoodSpec {
  readonly uid: string;
  readonly spec: unknown;
}

/** Kinds that people write, and whose specs the API server checks by a CRD's schema only. */
const customKinds: ReadonlySet<Kind> = new Set([
  "AuthorizationPolicy",
  "PeerAuthentication",
  "ServiceEntry",
  "WorkloadEntry",
  "Gateway",
  "GatewayClass",
]);

export class TypedObjects {
  readonly #tables = new ObjectTables();
  readonly #goodSpecs = new Map<string, GoodSpec>();
  readonly #problems = new Map<string, readonly SourceProblem[]>();

  /** What differs now. */
  apply(kind: Kind, deltas: readonly RawDelta[]): ObjectDelta[] {
    return deltas.flatMap((delta) => {
      const typed = delta.op === "put" ? this.#put(kind, delta.key, delta.object) : this.#remove(kind, delta.key);
      this.#tables.apply(typed);
      return typed;
    });
  }

  get({ kind, namespace, name }: ObjectRef): KubeObject | undefined {
    return this.#tables.get(kind, namespace, name);
  }

  /** The last good spec of an object whose newest one is broken, as it was written; undefined for all others. */
  specInForce({ kind, namespace, name }: ObjectRef): unknown {
    const object = this.#tables.get(kind, namespace, name);
    const good = this.#goodSpecs.get(`${kind}/${namespace}/${name}`);
    return good === undefined || object === undefined || object.faults.length === 0 || good.uid !== object.metadata.uid
      ? undefined
      : good.spec;
  }

  snapshot(): Snapshot {
    return this.#tables.snapshot();
  }

  problems(): SourceProblem[] {
    return [...this.#problems.values()].flat();
  }

  #put(kind: Kind, key: string, raw: RawObject): ObjectDelta[] {
    const before = this.#current(kind, key);
    const after = this.#understand(kind, key, raw, before);
    if (after === undefined) return before === undefined ? [] : [{ op: "removed", object: before }];
    // Most updates (heartbeats, managed fields) change nothing that we look at.
    return isDeepStrictEqual(before, after) ? [] : [{ op: "put", object: after }];
  }

  #remove(kind: Kind, key: string): ObjectDelta[] {
    const before = this.#current(kind, key);
    const id = `${kind}/${key}`;
    this.#goodSpecs.delete(id);
    this.#problems.delete(id);
    return before === undefined ? [] : [{ op: "removed", object: before }];
  }

  #understand(kind: Kind, key: string, raw: RawObject, before: KubeObject | undefined): KubeObject | undefined {
    const id = `${kind}/${key}`;
    // Items of a list say neither.
    const document = { ...raw, apiVersion: apiVersionOf(kind), kind };
    const parsed = parseObject(document);
    const uid = identityOf(raw)?.uid ?? "";
    if (parsed.result === "object") {
      this.#problems.delete(id);
      if (customKinds.has(kind)) this.#goodSpecs.set(id, { uid, spec: raw["spec"] });
      return parsed.object;
    }
    if (parsed.result === "unknown-kind") return undefined;
    const { faults, refusing } = parsed;
    const lastGood = this.#lastGood(kind, id, uid, document, before);
    const effect = lastGood === undefined ? effectOf(refusing) : "the last good version stays in force";
    this.#problems.set(id, problemsOf(kind, key, faults, effect));
    return lastGood === undefined ? refusing : { ...lastGood, faults };
  }

  /** The last good spec under today's metadata and status; where no spec is kept, the object as it stood. */
  #lastGood(
    kind: Kind,
    id: string,
    uid: string,
    document: RawObject,
    before: KubeObject | undefined,
  ): KubeObject | undefined {
    const standing = before?.metadata.uid === uid ? before : undefined;
    if (!customKinds.has(kind)) return standing;
    const good = this.#goodSpecs.get(id);
    // A namesake that was deleted long ago vouches for nobody.
    if (good?.uid !== uid) return this.#keptByStatus(kind, id, uid, document);
    const parsed = parseObject({ ...document, spec: good.spec });
    return parsed.result === "object" ? parsed.object : standing;
  }

  /** For who wasn't there when it was good. */
  #keptByStatus(kind: Kind, id: string, uid: string, document: RawObject): KubeObject | undefined {
    const spec = specIn(kind, document);
    const parsed = spec === undefined ? undefined : parseObject({ ...document, spec });
    if (parsed?.result !== "object") return undefined;
    this.#goodSpecs.set(id, { uid, spec });
    return parsed.object;
  }

  #current(kind: Kind, key: string): KubeObject | undefined {
    const slash = key.indexOf("/");
    return this.#tables.get(kind, key.slice(0, slash), key.slice(slash + 1));
  }
}

function problemsOf(kind: Kind, key: string, faults: readonly Fault[], effect: string): SourceProblem[] {
  const slash = key.indexOf("/");
  const ref = { kind, namespace: key.slice(0, slash), name: key.slice(slash + 1) };
  return faults.map(({ path, message }) => ({
    level: "error",
    code: "source.field",
    file: objectText(ref),
    line: 0,
    field: fieldPath(path),
    message: `${message}; ${effect}`,
    ref,
  }));
}

/** `AuthorizationPolicy shop/gate`, `Node node1` */
export function objectText({ kind, namespace, name }: ObjectRef): string {
  return namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
}
