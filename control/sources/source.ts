/**
 * The contract every source of objects keeps, a folder of manifests or a cluster: what is there now, what changed, and
 * a way to write status back. Order of calls: await `synced`, then `list()` and `subscribe()` in one synchronous step,
 * so that nothing is missed between the two.
 */
import { TypedError } from "../../core/base/errors.ts";
import type { Fault, Kind, KubeObject, ObjectOf } from "./objects.ts";

/** Names one object; `namespace` is empty for cluster-scoped kinds. */
export interface ObjectRef {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
}

/** `removed` carries the last version that was seen. */
export type ObjectDelta =
  { readonly op: "put"; readonly object: KubeObject } | { readonly op: "removed"; readonly object: KubeObject };

/** The objects of one moment. Later changes do not show in it. */
export interface Snapshot {
  get<K extends Kind>(kind: K, namespace: string, name: string): ObjectOf<K> | undefined;
  /** In order of namespace and name. */
  all<K extends Kind>(kind: K): readonly ObjectOf<K>[];
  objects(): Iterable<KubeObject>;
}

/** Something a person should know of what they wrote. Stays listed for as long as it holds. */
export interface SourceProblem {
  readonly level: "error" | "note";
  readonly code:
    | "source.unreadable" // the folder or a file cannot be read
    | "source.syntax" // not YAML, or not a Kubernetes object
    | "source.field" // a field that cannot be understood
    | "source.unknown-kind" // once per kind
    | "source.duplicate" // the same object twice; the first one counts
    | "source.overlay" // a status file that cannot be understood
    | "source.absent-kind" // the cluster does not have this kind of object: no CRD
    | "source.unwatched"; // the cluster does not tell of this kind of object: RBAC, or out of reach
  /** In a cluster the object instead, `AuthorizationPolicy shop/gate`, or the resource. */
  readonly file: string;
  /** 1-based; 0 where there is none. */
  readonly line: number;
  /** `spec.rules[0].from`; empty where the whole document is meant. */
  readonly field: string;
  /** A sentence, with what is in force instead. */
  readonly message: string;
  readonly ref?: ObjectRef;
}

/** A problem in one line: `shop.yaml:12: spec.ports[0].port must be a whole number …`. */
export function problemText({ file, line, field, message }: SourceProblem): string {
  return [line === 0 ? `${file}:` : `${file}:${line}:`, ...(field === "" ? [] : [field]), message].join(" ");
}

export class SourceError extends TypedError<
  /** e.g. no space, read-only, no RBAC; `file` as in SourceProblem. */
  { readonly code: "source.write-status"; readonly file: string; readonly reason: string }
> {}

/** RFC 7396: objects merge, null removes, anything else replaces. */
export type MergePatch = { readonly [key: string]: unknown };

export interface Source {
  /** Settles once everything that was there at the start has been read. */
  readonly synced: Promise<void>;
  list(): Snapshot;
  /** Calls back with what changed, in one batch per observation, never during `subscribe` itself. Returns the way out. */
  subscribe(callback: (deltas: readonly ObjectDelta[]) => void): () => void;
  /**
   * Replaces what `writer` says about an object; null takes it back. Writing what already stands does nothing.
   * @param writer e.g. `lab`, `cni`, `control`: letters, digits and dashes. Patches apply in order of writer name.
   * @param owned condition types that are the writer's: of `patch.status.conditions` a cluster takes only those.
   */
  writeStatus(
    ref: ObjectRef,
    writer: string,
    patch: MergePatch | null,
    owned?: readonly string[],
  ): Promise<SourceError | undefined>;
  problems(): readonly SourceProblem[];
  close(): void;
}

export function refOf(object: KubeObject): ObjectRef {
  return { kind: object.kind, namespace: object.metadata.namespace, name: object.metadata.name };
}

/** The key of an object among all kinds: `Pod/shop/cart-1`, `Node//node1`. */
export function refKey(ref: ObjectRef): string {
  return `${ref.kind}/${ref.namespace}/${ref.name}`;
}

/** `spec.rules[0].from` */
export function fieldPath(path: Fault["path"]): string {
  return path.reduce<string>(
    (text, step) => (typeof step === "number" ? `${text}[${step}]` : text === "" ? step : `${text}.${step}`),
    "",
  );
}
