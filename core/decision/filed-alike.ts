/** Which changes of a workload change nothing about where it is found. */
import type { MeshWorkload } from "../protocol/wds/workload.ts";

export function isFiledAlike(before: MeshWorkload, after: MeshWorkload): boolean {
  return (
    before.namespace === after.namespace &&
    before.name === after.name &&
    before.network === after.network &&
    before.hostname === after.hostname &&
    before.hostNetwork === after.hostNetwork &&
    // Decide who is found by an address that several have, and among the healthy.
    before.tunnel === after.tunnel &&
    before.healthy === after.healthy &&
    isSameList(before.addresses, after.addresses) &&
    isSameList(before.policies, after.policies) &&
    hasSameKeys(before.services, after.services)
  );
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one === other || (one.length === other.length && one.every((text, at) => text === other[at]));
}

function hasSameKeys(one: MeshWorkload["services"], other: MeshWorkload["services"]): boolean {
  if (one === other) return true;
  if (one.size !== other.size) return false;
  for (const key of one.keys()) if (!other.has(key)) return false;
  return true;
}
