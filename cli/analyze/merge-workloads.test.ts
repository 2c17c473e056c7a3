import assert from "node:assert/strict";
import { test } from "node:test";
import { workload } from "../test-support/demo-cluster.ts";
import { disagreementsOf, mergeWorkloads } from "./merge-workloads.ts";

const cart = workload("cart", "10.0.0.1", "node1");

test("agents that say the same make one row that nobody disagrees about", () => {
  const shuffled = { ...cart, authorizationPolicies: ["b", "a"] };
  const [row, ...more] = mergeWorkloads([
    { node: "node1", workloads: [{ ...cart, authorizationPolicies: ["a", "b"] }] },
    { node: "node2", workloads: [shuffled] },
  ]);
  assert.deepEqual(more, []);
  assert.deepEqual(row?.knownBy, ["node1", "node2"]);
  assert.deepEqual(row?.differences, []);
  assert.deepEqual(row && disagreementsOf(row), []);
});

test("the row is what most say, and who says otherwise is named", () => {
  const [row] = mergeWorkloads([
    { node: "node1", workloads: [{ ...cart, protocol: "TCP" }] },
    { node: "node2", workloads: [cart] },
    { node: "node3", workloads: [cart] },
  ]);
  assert.equal(row?.protocol, "HBONE");
  assert.deepEqual(row && disagreementsOf(row), [
    "shop/cart: the agents disagree about its protocol: HBONE at node2, node3; TCP at node1.",
  ]);
});

test("a workload that one agent lacks is said to be unknown there", () => {
  const [row] = mergeWorkloads([
    { node: "node1", workloads: [cart] },
    { node: "node2", workloads: [] },
  ]);
  assert.deepEqual(row && disagreementsOf(row), ["shop/cart: the agent of node2 doesn't know it."]);
});

test("a field that only one side has is a disagreement", () => {
  const [row] = mergeWorkloads([
    { node: "node1", workloads: [{ ...cart, waypoint: { destination: "x" } }] },
    { node: "node2", workloads: [cart] },
  ]);
  assert.match((row && disagreementsOf(row)[0]) ?? "", /its waypoint: \{"destination":"x"\} at node1; none at node2/);
});
