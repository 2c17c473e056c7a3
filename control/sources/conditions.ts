/** Puts conditions on objects through any source: only where they differ, beside those of other reporters. */
import type { Clock } from "../../core/base/clock.ts";
import type { Log } from "../../core/base/log.ts";
import type { Condition, KubeObject } from "./objects.ts";
import { refKey, refOf, type MergePatch, type ObjectDelta, type ObjectRef, type Source } from "./source.ts";

/** All that one reporter says of one object. Types in `owned` that `conditions` lacks are to be taken back. */
export interface StatusRow {
  readonly ref: ObjectRef;
  readonly owned: readonly string[];
  readonly conditions: readonly Condition[];
}

export interface ConditionWriterOptions {
  readonly source: Source;
  /** As for `Source.writeStatus`. */
  readonly writer: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class ConditionWriter {
  readonly #options: ConditionWriterOptions;

  constructor(options: ConditionWriterOptions) {
    this.#options = options;
  }

  /** Writes what differs from what the objects say now. What cannot be written is logged, and is for the next time. */
  async write(rows: readonly StatusRow[]): Promise<void> {
    if (rows.length === 0) return;
    const { source, writer, clock, log } = this.#options;
    const snapshot = source.list();
    const now = new Date(clock.wallMs()).toISOString();
    for (const row of rows) {
      const object = snapshot.get(row.ref.kind, row.ref.namespace, row.ref.name);
      const patch = object && statusPatch(row, conditionsOf(object), now);
      const error = patch && (await source.writeStatus(row.ref, writer, patch, row.owned));
      if (error !== undefined) log.warn({ ...error.type, object: refKey(row.ref) }, "a status was not written");
    }
  }

  /** Takes back what was said of objects that are gone, so that no namesake inherits it. */
  async forget(deltas: readonly ObjectDelta[]): Promise<void> {
    const { source, writer, log } = this.#options;
    for (const delta of deltas) {
      if (delta.op !== "removed") continue;
      const error = await source.writeStatus(refOf(delta.object), writer, null);
      if (error !== undefined) log.warn({ ...error.type }, "a status was not taken back");
    }
  }
}

/**
 * The merge patch that makes an object's conditions say what the row says, and leaves other reporters' alone; undefined
 * when they say it already.
 * @param existing the object's conditions as they stand.
 * @param now RFC 3339: when a condition's status changed, if it did.
 */
export function statusPatch(row: StatusRow, existing: readonly Condition[], now: string): MergePatch | undefined {
  const foreign = existing.filter(({ type }) => !row.owned.includes(type));
  const own = row.conditions.map((condition) => {
    const before = existing.find(({ type }) => type === condition.type);
    const since = before?.status === condition.status ? before.lastTransitionTime : undefined;
    return { ...condition, lastTransitionTime: since ?? now };
  });
  const conditions = [...foreign, ...own];
  return sayTheSame(conditions, existing) ? undefined : { status: { conditions } };
}

/** Whether two lists of conditions mean the same, whatever their order and times. */
export function sayTheSame(a: readonly Condition[], b: readonly Condition[]): boolean {
  return a.length === b.length && a.every((condition) => b.some((other) => saysTheSame(condition, other)));
}

function saysTheSame(a: Condition, b: Condition): boolean {
  return a.type === b.type && a.status === b.status && a.reason === b.reason && a.message === b.message;
}

export function conditionsOf(object: KubeObject): readonly Condition[] {
  return "status" in object && "conditions" in object.status ? object.status.conditions : [];
}
