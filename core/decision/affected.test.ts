import assert from "node:assert/strict";
import { test } from "node:test";
import { pod, policy, port, service } from "../../test/support/mesh.ts";
import { ConnectionIndex } from "./affected.ts";
import { MeshState } from "./mesh-state.ts";

const cart = pod("shop/cart", "10.1.0.5", { policies: ["shop/chosen"] });
const shipping = pod("shop/shipping", "10.1.0.6");
const vault = pod("vault/db", "10.1.0.7");

function mesh(): { state: MeshState; index: ConnectionIndex<string> } {
  const state = new MeshState();
  state.apply({ workloads: [cart, shipping, vault] });
  const index = new ConnectionIndex<string>();
  for (const { uid, namespace, name } of [cart, shipping, vault]) index.add(`to ${name}`, { local: uid, namespace });
  return { state, index };
}

test("F-171 a policy concerns the connections in its reach, and no others", () => {
  const { state, index } = mesh();
  const judged = (key: string, scope: "global" | "namespace" | "selector"): string[] =>
    [...index.toJudgeAgain(state.apply({ policies: [policy(key, { scope })] }))].sort();
  assert.deepEqual(judged("root/p", "global"), ["to cart", "to db", "to shipping"]);
  assert.deepEqual(judged("shop/p", "namespace"), ["to cart", "to shipping"]);
  assert.deepEqual(judged("shop/chosen", "selector"), ["to cart"]);
  assert.deepEqual(judged("shop/unlisted", "selector"), []);
});

test("F-171 a policy attached to a workload concerns that workload's connections", () => {
  const { state, index } = mesh();
  const change = state.apply({ workloads: [{ ...shipping, policies: ["shop/chosen"] }] });
  assert.deepEqual([...index.toJudgeAgain(change)], ["to shipping"]);
});

test("a connection that ended is asked about no more", () => {
  const { state, index } = mesh();
  index.remove("to cart");
  index.remove("to cart");
  assert.equal(index.size, 2);
  assert.deepEqual([...index.toJudgeAgain(state.apply({ policies: [policy("shop/p", {})] }))], ["to shipping"]);
});

test("a connection may hear of changes to the service and workloads on its way", () => {
  const { state, index } = mesh();
  const web = service("shop/web", "10.96.0.1", [port(80, 8080)]);
  index.add("through web", { local: vault.uid, namespace: "vault", services: [web.key], workloads: [cart.uid] });
  assert.deepEqual([...index.toRouteAgain(state.apply({ services: [web] }))], ["through web"]);
  assert.deepEqual([...index.toRouteAgain(state.apply({ removed: { addresses: [cart.uid] } }))], ["through web"]);
  assert.deepEqual([...index.toRouteAgain(state.apply({ workloads: [shipping] }))], []);
  index.remove("through web");
  assert.deepEqual([...index.toRouteAgain(state.apply({ services: [web] }))], []);
});
