/**
 * All resources of one type and the order in which they changed. One log serves every stream: a stream's state is the sequence
 * number it has been sent up to, whatever the size of the mesh.
 */
import type { DeltaResource } from "./delta-client.ts";

/** What a client lacks. */
export interface Difference {
  readonly changed: readonly DeltaResource[];
  readonly removed: readonly string[];
}

/** The last word about a name. */
interface Entry {
  readonly name: string;
  /** The batch that said it. */
  readonly sequence: number;
  /** The batch that first named it, as far as is remembered: who was up to date before that never heard of it. */
  readonly bornAt: number;
  /** Undefined: removed. */
  readonly resource: DeltaResource | undefined;
}

/** Removals remembered beside as many as there are resources. A stream further behind must begin anew. */
const fewestRemovalsKept = 4096;

export class ResourceLog {
  #sequence = 0;
  #floor = 0;
  #removals = 0;
  /** Latest entry per name. */
  readonly #latest = new Map<string, Entry>();
  /** Entries by sequence; one is out of date where #latest holds another. */
  #log: Entry[] = [];

  /** The number of the last batch. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Streams that were sent less than this have missed removals that are forgotten. */
  get floor(): number {
    return this.#floor;
  }

  /** How many resources there are. */
  get size(): number {
    return this.#latest.size - this.#removals;
  }

  resource(name: string): DeltaResource | undefined {
    return this.#latest.get(name)?.resource;
  }

  *resources(): Generator<DeltaResource> {
    for (const { resource } of this.#latest.values()) if (resource !== undefined) yield resource;
  }

  /** One batch. A resource whose version stays is no change. @returns whether anything changed. */
  apply(changed: Iterable<DeltaResource>, removed: Iterable<string>): boolean {
    const sequence = this.#sequence + 1;
    const before = this.#log.length;
    for (const resource of changed) {
      const known = this.#latest.get(resource.name);
      if (known?.resource?.version !== resource.version) this.#append(known, resource.name, sequence, resource);
    }
    for (const name of removed) {
      const known = this.#latest.get(name);
      if (known?.resource !== undefined) this.#append(known, name, sequence, undefined);
    }
    if (this.#log.length === before) return false;
    this.#sequence = sequence;
    this.#forgetRemovals();
    this.#compact();
    return true;
  }

  /** Makes the log hold exactly these. @returns whether anything changed. */
  replace(resources: readonly DeltaResource[]): boolean {
    const names = new Set(resources.map(({ name }) => name));
    const gone = [...this.resources()].map(({ name }) => name).filter((name) => !names.has(name));
    return this.apply(resources, gone);
  }

  /** What a client lacks that was up to date after batch `cursor` (not below the floor). */
  since(cursor: number): Difference {
    const changed: DeltaResource[] = [];
    const removed: string[] = [];
    for (let i = this.#log.length - 1; i >= 0; i--) {
      const entry = this.#log[i];
      if (entry === undefined || entry.sequence <= cursor) break;
      if (this.#latest.get(entry.name) !== entry) continue;
      if (entry.resource !== undefined) changed.push(entry.resource);
      else if (entry.bornAt <= cursor) removed.push(entry.name);
    }
    return { changed: changed.reverse(), removed: removed.reverse() };
  }

  /** What a client lacks that holds these versions by name. */
  difference(held: ReadonlyMap<string, string>): Difference {
    const changed = [...this.resources()].filter(({ name, version }) => held.get(name) !== version);
    const removed = [...held.keys()].filter((name) => this.resource(name) === undefined);
    return { changed, removed };
  }

  #append(known: Entry | undefined, name: string, sequence: number, resource: DeltaResource | undefined): void {
    if (known !== undefined && known.resource === undefined) this.#removals -= 1;
    if (resource === undefined) this.#removals += 1;
    const entry = { name, sequence, bornAt: known?.bornAt ?? sequence, resource };
    this.#latest.set(name, entry);
    this.#log.push(entry);
  }

  /** Forgets the older half of the removals when there are too many. */
  #forgetRemovals(): void {
    if (this.#removals <= Math.max(fewestRemovalsKept, this.size)) return;
    let surplus = this.#removals >> 1;
    for (const entry of this.#log) {
      if (surplus === 0) break;
      if (entry.resource !== undefined || this.#latest.get(entry.name) !== entry) continue;
      this.#latest.delete(entry.name);
      this.#removals -= 1;
      this.#floor = entry.sequence;
      surplus -= 1;
    }
  }

  #compact(): void {
    if (this.#log.length <= 2 * this.#latest.size + 1024) return;
    this.#log = this.#log.filter((entry) => this.#latest.get(entry.name) === entry);
  }
}
