import assert from "node:assert/strict";
import { test } from "node:test";
import { serviceTable } from "./service-rules.ts";

test("a node without services has no hook at which connections would be tracked, and one with a service has", () => {
  assert.deepEqual(serviceTable([], ["10.0.0.1"]).chains, []);
  const vip = { address: "10.96.0.1", port: 80 };
  const { chains } = serviceTable([{ service: "shop/web", vip, targets: [] }], ["10.0.0.1"]);
  assert(chains.some(({ hook }) => hook?.type === "nat"));
});
