import assert from "node:assert/strict";
import { test } from "node:test";
import { LocalMeshError } from "../../agent/local-mesh/fields.ts";
import { localMesh } from "../../agent/local-mesh/local-mesh.ts";
import { MeshInventory } from "../../agent/mesh-inventory.ts";
import { podAt, podsMesh } from "./pods.ts";

test("every pod that is offered is a workload of the mesh, of an identity and an address of its own", () => {
  const mesh = localMesh(podsMesh(300));
  assert.ok(!(mesh instanceof LocalMeshError));
  const inventory = new MeshInventory();
  for (const update of mesh) inventory.take(update);
  const found = Array.from({ length: 300 }, (_, at) => {
    const { namespace, name, serviceAccount } = podAt(at);
    return inventory.workloadOf(namespace, name, serviceAccount);
  });
  assert.equal(new Set(found.map((workload) => workload?.serviceAccount)).size, 300);
  assert.equal(new Set(found.map((workload) => workload?.addresses.join())).size, 300);
});
