/** Conditions on objects: written only where they differ, beside those of other reporters. */
import type { Condition, KubeObject } from "./objects.ts";
import type { MergePatch, ObjectRef } from "./source.ts";

/** All that one reporter says of one object. Types in `owned` that `conditions` lacks are to be taken back. */
export interface StatusRow {
  readonly ref: ObjectRef;
  readonly owned: readonly string[];
  readonly conditions: readonly Condition[];
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
