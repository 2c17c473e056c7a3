/**
 * What objects are told about themselves, kept true while this replica leads: written where the object says otherwise,
 * again when somebody wipes it, and again later when it can't be written. A replica that doesn't lead only remembers.
 */
import { Backoff } from "../../core/base/backoff.ts";
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { Random } from "../../core/base/random.ts";
import { conditionsOf, statusPatch, type StatusRow } from "../sources/conditions.ts";
import { refKey, refOf, type ObjectDelta, type ObjectRef, type Snapshot, type Source } from "../sources/source.ts";

export interface StatusReporterModules {
  readonly source: Source;
  /** As for `Source.writeStatus`. */
  readonly writer: string;
  /** Whether the source keeps what was said of an object that is gone, so that it must be taken back. */
  readonly outlivesObjects: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export class StatusReporter {
  readonly #modules: StatusReporterModules;
  readonly #backoff: Backoff;
  readonly #rows = new Map<string, StatusRow>();
  /** To be looked at, by key. */
  readonly #due = new Map<string, ObjectRef>();
  /** Being written: one write at a time for each object. */
  readonly #busy = new Set<string>();
  #leads = false;
  #cancelRetry: (() => void) | undefined;

  constructor(modules: StatusReporterModules) {
    this.#modules = modules;
    this.#backoff = new Backoff({ firstMs: 500, capMs: 30_000, jitter: 0.2 }, modules.random);
  }

  /** What is to be said from now on, and what became of the objects it is said of. */
  report(rows: readonly StatusRow[], deltas: readonly ObjectDelta[]): void {
    for (const { op, object } of deltas) {
      const ref = refOf(object);
      const key = refKey(ref);
      const isTold = this.#rows.has(key);
      if (op === "removed") this.#rows.delete(key);
      if (op === "put" ? isTold : this.#modules.outlivesObjects) this.#due.set(key, ref);
    }
    for (const row of rows) {
      const key = refKey(row.ref);
      this.#rows.set(key, row);
      this.#due.set(key, row.ref);
    }
    this.#work();
  }

  /** Whether it is this replica's turn to write. Whoever begins compares everything. */
  lead(leads: boolean): void {
    this.#leads = leads;
    if (!leads) return;
    for (const [key, { ref }] of this.#rows) this.#due.set(key, ref);
    this.#work();
  }

  /** Writes nothing more. */
  close(): void {
    this.#leads = false;
    this.#cancelRetry?.();
  }

  #work(): void {
    if (!this.#leads || this.#due.size === 0 || this.#busy.size >= lanes) return;
    const snapshot = this.#modules.source.list();
    for (const [key, ref] of this.#due) {
      if (this.#busy.size >= lanes) return;
      if (this.#busy.has(key)) continue;
      this.#due.delete(key);
      const writing = this.#write(key, ref, snapshot);
      if (writing === undefined) continue;
      this.#busy.add(key);
      void writing.finally(() => {
        this.#busy.delete(key);
        this.#work();
      });
    }
  }

  /** Undefined where nothing is to be written. */
  #write(key: string, ref: ObjectRef, snapshot: Snapshot): Promise<void> | undefined {
    const { source, writer, clock, log } = this.#modules;
    const row = this.#rows.get(key);
    const object = snapshot.get(ref.kind, ref.namespace, ref.name);
    if (row !== undefined && object !== undefined) {
      const patch = statusPatch(row, conditionsOf(object), new Date(clock.wallMs()).toISOString());
      return patch && this.#settle(key, ref, source.writeStatus(ref, writer, patch, row.owned));
    }
    if (row !== undefined || object !== undefined || !this.#modules.outlivesObjects) return undefined;
    return source.writeStatus(ref, writer, null).then((error) => {
      if (error !== undefined) log.warn({ error: error.type, object: key }, "a status was not taken back");
    });
  }

  async #settle(key: string, ref: ObjectRef, writing: ReturnType<Source["writeStatus"]>): Promise<void> {
    const { clock, log } = this.#modules;
    const error = await writing;
    if (error === undefined) return this.#backoff.reset();
    log.warn({ error: error.type, object: key }, "a status was not written; tried again");
    const again = (): void => {
      this.#cancelRetry = undefined;
      for (const [known, row] of this.#rows) this.#due.set(known, row.ref);
      this.#work();
    };
    if (this.#rows.has(key)) this.#cancelRetry ??= clock.after(this.#backoff.next(), again);
  }
}

/** Writes under way at once. */
const lanes = 8;
