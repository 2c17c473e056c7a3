/** A source whose objects a test puts in by hand, as YAML. Nothing waits for a file system. */
import { ObjectStore } from "../../control/sources/object-store.ts";
import type { Kind, KubeObject, ObjectOf } from "../../control/sources/objects.ts";
import {
  refKey,
  refOf,
  type MergePatch,
  type ObjectDelta,
  type ObjectRef,
  type Snapshot,
  type Source,
} from "../../control/sources/source.ts";

export class MemorySource implements Source {
  readonly synced: Promise<void>;
  readonly #store = new ObjectStore();
  readonly #objects = new Map<string, KubeObject>();
  readonly #subscribers = new Set<(deltas: readonly ObjectDelta[]) => void>();
  /** `Kind/namespace/name writer` → what was written. */
  readonly statuses = new Map<string, MergePatch>();
  readonly #sync: () => void;

  /** @param isSynced false: only when `sync` is called. */
  constructor(isSynced = true) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#sync = resolve;
    if (isSynced) resolve();
  }

  sync(): void {
    this.#sync();
  }

  /** Puts or replaces what one file holds; undefined takes the file away. */
  put(file: string, yaml: string | undefined): void {
    this.#store.setFile(`${file}.yaml`, yaml);
    const deltas = this.#store.flush();
    for (const { op, object } of deltas) {
      if (op === "put") this.#objects.set(refKey(refOf(object)), object);
      else this.#objects.delete(refKey(refOf(object)));
    }
    for (const subscriber of this.#subscribers) subscriber(deltas);
  }

  list(): Snapshot {
    const objects = new Map(this.#objects);
    return {
      get: <K extends Kind>(kind: K, namespace: string, name: string) =>
        objects.get(refKey({ kind, namespace, name })) as ObjectOf<K> | undefined,
      all: <K extends Kind>(kind: K) => [...objects.values()].filter((object) => object.kind === kind) as ObjectOf<K>[],
      objects: () => objects.values(),
    };
  }

  subscribe(callback: (deltas: readonly ObjectDelta[]) => void): () => void {
    this.#subscribers.add(callback);
    return () => this.#subscribers.delete(callback);
  }

  writeStatus(ref: ObjectRef, writer: string, patch: MergePatch | null): Promise<undefined> {
    const key = `${refKey(ref)} ${writer}`;
    if (patch === null) this.statuses.delete(key);
    else this.statuses.set(key, patch);
    return Promise.resolve(undefined);
  }

  problems(): [] {
    return [];
  }

  close(): void {
    this.#subscribers.clear();
  }
}
