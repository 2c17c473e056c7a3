import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshState } from "../../core/decision/mesh-state.ts";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { probableService } from "./inbound-service.ts";

test("F-211 inbound traffic is told under the service the client names, if it is one of the pod's, else the one of that port", () => {
  const [web, admin, foreign] = ["web", "admin", "foreign"].map((name) =>
    service(`shop/${name}`, "", [port(80, name === "admin" ? 9_000 : 8_080)]),
  ) as [ReturnType<typeof service>, ReturnType<typeof service>, ReturnType<typeof service>];
  const local = pod("shop/a", "10.0.0.1", { services: backs([web, port(80, 8_080)], [admin, port(80, 9_000)]) });
  const state = new MeshState();
  state.apply({ services: [web, admin, foreign], workloads: [local] });
  const named = (at: number, claimed?: string): string | undefined =>
    probableService(state, local, at, claimed)?.hostname;
  assert.equal(named(8_080, admin.hostname), admin.hostname);
  assert.equal(named(8_080, foreign.hostname), web.hostname);
  assert.equal(named(8_080, "nobody.example"), web.hostname);
  assert.equal(named(9_000), admin.hostname);
  assert.equal(named(7_000), undefined);
});
