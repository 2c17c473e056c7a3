/** The objects of now, by kind, with snapshots that later changes don't show in: a table is copied when it changes after one was taken. */
import type { Kind, KubeObject, ObjectOf } from "./objects.ts";
import type { ObjectDelta, Snapshot } from "./source.ts";

interface Table {
  /** `namespace/name` → object. */
  readonly objects: Map<string, KubeObject>;
  /** In order of namespace and name; made when first asked for. */
  sorted: readonly KubeObject[] | undefined;
  /** A snapshot holds it: it must not change any more. */
  isShared: boolean;
}

export class ObjectTables {
  readonly #tables = new Map<Kind, Table>();
  #snapshot: Snapshot | undefined;

  get(kind: Kind, namespace: string, name: string): KubeObject | undefined {
    return this.#tables.get(kind)?.objects.get(`${namespace}/${name}`);
  }

  apply(deltas: readonly ObjectDelta[]): void {
    if (deltas.length > 0) this.#snapshot = undefined;
    for (const { op, object } of deltas) {
      const { objects } = this.#writable(object.kind);
      const key = `${object.metadata.namespace}/${object.metadata.name}`;
      if (op === "put") objects.set(key, object);
      else objects.delete(key);
    }
  }

  snapshot(): Snapshot {
    if (this.#snapshot !== undefined) return this.#snapshot;
    for (const table of this.#tables.values()) table.isShared = true;
    this.#snapshot = new TableSnapshot(new Map(this.#tables));
    return this.#snapshot;
  }

  #writable(kind: Kind): Table {
    const table = this.#tables.get(kind);
    if (table !== undefined && !table.isShared) {
      table.sorted = undefined;
      return table;
    }
    const copy: Table = { objects: new Map(table?.objects), sorted: undefined, isShared: false };
    this.#tables.set(kind, copy);
    return copy;
  }
}

class TableSnapshot implements Snapshot {
  readonly #tables: ReadonlyMap<Kind, Table>;

  constructor(tables: ReadonlyMap<Kind, Table>) {
    this.#tables = tables;
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ObjectOf<K> | undefined {
    return this.#tables.get(kind)?.objects.get(`${namespace}/${name}`) as ObjectOf<K> | undefined;
  }

  all<K extends Kind>(kind: K): readonly ObjectOf<K>[] {
    const table = this.#tables.get(kind);
    if (table === undefined) return [];
    table.sorted ??= [...table.objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
    return table.sorted as readonly ObjectOf<K>[];
  }

  *objects(): Iterable<KubeObject> {
    for (const { objects } of this.#tables.values()) yield* objects.values();
  }
}
