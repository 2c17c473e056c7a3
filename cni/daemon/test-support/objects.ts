/** A source of objects that a test writes by hand. */
import type { KubeObject, Namespace, Pod } from "../../../control/sources/objects.ts";
import {
  refKey,
  refOf,
  SourceError,
  type MergePatch,
  type ObjectDelta,
  type ObjectRef,
  type Snapshot,
  type Source,
} from "../../../control/sources/source.ts";
import { redirectionAnnotation } from "../desired.ts";

export interface PodSketch {
  readonly uid: string;
  readonly name: string;
  readonly namespace?: string;
  readonly node?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hostNetwork?: boolean;
  readonly phase?: string;
  readonly addresses?: readonly string[];
}

export function pod(sketch: PodSketch): Pod {
  return {
    kind: "Pod",
    apiVersion: "v1",
    metadata: {
      name: sketch.name,
      namespace: sketch.namespace ?? "shop",
      uid: sketch.uid,
      labels: sketch.labels ?? {},
      annotations: sketch.annotations ?? {},
      ownerReferences: [],
    },
    faults: [],
    spec: {
      nodeName: sketch.node ?? "node1",
      serviceAccountName: "default",
      hostNetwork: sketch.hostNetwork ?? false,
      restartPolicy: "Always",
      containers: [],
      initContainers: [],
    },
    status: { phase: sketch.phase ?? "Running", podIPs: sketch.addresses ?? [], conditions: [] },
  };
}

export function namespace(name: string, labels: Readonly<Record<string, string>> = {}): Namespace {
  const metadata = { name, namespace: "", uid: `namespace-${name}`, labels, annotations: {}, ownerReferences: [] };
  return { kind: "Namespace", apiVersion: "v1", metadata, faults: [] };
}

export class HandSource implements Source {
  readonly synced = Promise.resolve();
  /** While set, nothing can be written. */
  broken: string | undefined;
  /** What was written of redirection, in order; "taken back" when the whole overlay was. */
  readonly written: { readonly key: string; readonly redirection: string | null }[] = [];
  readonly #objects = new Map<string, KubeObject>();
  readonly #subscribers = new Set<(deltas: readonly ObjectDelta[]) => void>();

  put(...objects: readonly KubeObject[]): void {
    const deltas = objects.map((object): ObjectDelta => {
      this.#objects.set(refKey(refOf(object)), object);
      return { op: "put", object };
    });
    this.#publish(deltas);
  }

  remove(object: KubeObject): void {
    this.#objects.delete(refKey(refOf(object)));
    this.#publish([{ op: "removed", object }]);
  }

  list(): Snapshot {
    const objects = new Map(this.#objects);
    return {
      get: (kind, namespace, name) => objects.get(refKey({ kind, namespace, name })) as never,
      all: (kind) => [...objects.values()].filter((object) => object.kind === kind) as never,
      objects: () => objects.values(),
    };
  }

  subscribe(callback: (deltas: readonly ObjectDelta[]) => void): () => void {
    this.#subscribers.add(callback);
    return () => this.#subscribers.delete(callback);
  }

  async writeStatus(ref: ObjectRef, _writer: string, patch: MergePatch | null): Promise<SourceError | undefined> {
    await Promise.resolve();
    if (this.broken !== undefined)
      return new SourceError({ code: "source.write-status", file: refKey(ref), reason: this.broken });
    const said = patch as { metadata: { annotations: Record<string, string | null> } } | null;
    const redirection = said === null ? "taken back" : (said.metadata.annotations[redirectionAnnotation] ?? null);
    this.written.push({ key: refKey(ref), redirection });
    const object = this.#objects.get(refKey(ref));
    if (object?.kind !== "Pod") return undefined;
    const { [redirectionAnnotation]: _before, ...others } = object.metadata.annotations;
    const stands = redirection !== null && redirection !== "taken back";
    const annotations = stands ? { ...others, [redirectionAnnotation]: redirection } : others;
    this.put({ ...object, metadata: { ...object.metadata, annotations } });
    return undefined;
  }

  problems(): [] {
    return [];
  }

  close(): void {
    this.#subscribers.clear();
  }

  /** What the pod's object says now. */
  redirectionOf(namespace: string, name: string): string | undefined {
    const object = this.#objects.get(refKey({ kind: "Pod", namespace, name }));
    return object?.metadata.annotations[redirectionAnnotation];
  }

  #publish(deltas: readonly ObjectDelta[]): void {
    for (const callback of this.#subscribers) callback(deltas);
  }
}
