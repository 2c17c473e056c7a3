import assert from "node:assert/strict";
import { test } from "node:test";
import { statusPatch, type StatusRow } from "./conditions.ts";
import type { Condition } from "./objects.ts";

const row: StatusRow = {
  ref: { kind: "Service", namespace: "shop", name: "cart" },
  owned: ["Bound", "Old"],
  conditions: [{ type: "Bound", status: "True", reason: "Found", message: "bound" }],
};
const foreign: Condition = { type: "Other", status: "True" };

test("a condition is written beside other reporters', with the time it came true", () => {
  assert.deepEqual(conditions(statusPatch(row, [foreign], "T1")), [
    foreign,
    { ...row.conditions[0], lastTransitionTime: "T1" },
  ]);
});

test("what stands already is not written again", () => {
  const standing = conditions(statusPatch(row, [foreign], "T1"));
  assert.equal(statusPatch(row, standing, "T2"), undefined);
  assert.equal(statusPatch({ ...row, conditions: [] }, [foreign], "T2"), undefined);
});

test("other words keep the time, another status gets a new one", () => {
  const standing = conditions(statusPatch(row, [], "T1"));
  const time = (change: Partial<Condition>) => {
    const changed = row.conditions.map((condition) => ({ ...condition, ...change }));
    return conditions(statusPatch({ ...row, conditions: changed }, standing, "T2"))[0]?.lastTransitionTime;
  };
  assert.equal(time({ message: "bound still" }), "T1");
  assert.equal(time({ status: "False" }), "T2");
});

test("a condition of ours that no longer holds is taken back", () => {
  const standing = [foreign, { type: "Bound", status: "True" }, { type: "Old", status: "False" }];
  assert.deepEqual(conditions(statusPatch({ ...row, conditions: [] }, standing, "T1")), [foreign]);
});

function conditions(patch: ReturnType<typeof statusPatch>): Condition[] {
  assert.ok(patch);
  return (patch["status"] as { conditions: Condition[] }).conditions;
}
