import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../core/base/clock.ts";
import { MeshState } from "../core/decision/mesh-state.ts";
import * as wire from "../core/protocol/generated/security.ts";
import { addressType } from "../core/protocol/wds/address.ts";
import { authorizationType } from "../core/protocol/wds/authorization.ts";
import type { DeltaResource, DeltaUpdate } from "../core/protocol/xds/delta-client.ts";
import { LocalMeshError } from "./local-mesh/fields.ts";
import { localMesh } from "./local-mesh/local-mesh.ts";
import { MeshInventory } from "./mesh-inventory.ts";
import { SliceReader } from "./mesh-slice.ts";
import { WorkerMesh } from "./worker/mesh.ts";

const [policies, addresses] = resourcesOf(`
workloads:
- {uid: w1, name: web, namespace: shop, workloadIps: [10.0.0.1], protocol: HBONE, services: {shop/web.shop.svc: {80: 8080}}}
- {uid: w2, name: db, namespace: shop, workloadIps: [10.0.0.2], protocol: HBONE}
services:
- {name: web, namespace: shop, hostname: web.shop.svc, vips: [/10.1.0.1], ports: {80: 8080}}
policies:
- {name: deny, namespace: shop, action: Deny, rules: []}
`);

test("F-116 a name that is removed takes the workload or the service of that name with it", () => {
  const mesh = new MeshInventory();
  mesh.take(update(addressType, addresses));
  assert.deepEqual([names(mesh), services(mesh)], [["db", "web"], ["web"]]);
  mesh.take(update(addressType, [], ["w1"]));
  assert.deepEqual([names(mesh), services(mesh)], [["db"], ["web"]]);
  mesh.take(update(addressType, [], ["shop/web.shop.svc", "nobody"]));
  assert.deepEqual([names(mesh), services(mesh)], [["db"], []]);
  mesh.take(update(authorizationType, policies));
  assert.equal([...mesh.policies()].length, 1);
  mesh.take(update(authorizationType, [], ["shop/deny"]));
  assert.equal([...mesh.policies()].length, 0);
});

test("F-115 an endpoint that comes before its service is there when the service comes, and stays when it is replaced", () => {
  const mesh = new MeshInventory();
  const of = (name: string): DeltaResource => addresses.find((one) => one.name === name)!;
  const endpoints = (): number => mesh.state.endpointCount("shop/web.shop.svc");
  mesh.take(update(addressType, [of("w1")]));
  mesh.take(update(addressType, [of("shop/web.shop.svc")]));
  assert.equal(endpoints(), 1);
  mesh.take(update(addressType, [of("shop/web.shop.svc")]));
  assert.equal(endpoints(), 1);
});

test("what is said again as it was comes to nothing, a slice's worth of it in a turn", () => {
  const mesh = new MeshInventory();
  const one = (at: number): string =>
    `- {uid: u${at}, name: n${at}, namespace: shop, workloadIps: [10.1.0.${at}], protocol: HBONE}`;
  const [, sent] = resourcesOf(["workloads:", ...Array.from({ length: 120 }, (_, at) => one(at))].join("\n"));
  assert.equal([...mesh.takeInPieces(update(addressType, sent))].filter((slice) => slice !== undefined).length, 3);
  assert.deepEqual([...mesh.takeInPieces(update(addressType, sent))], [undefined, undefined]);
});

test("F-111 F-126 H069 one resource that cannot be understood is refused by name; the others count, and its last good version stays", () => {
  const mesh = new MeshInventory();
  mesh.take(update(addressType, addresses));
  const torn = { name: "w1", version: "2", bytes: Uint8Array.of(0x0a, 0x7f, 0x01) };
  const other = { name: "w3", version: "2", bytes: Uint8Array.of(0xff, 0xff, 0xff) };
  const { rejected } = mesh.take(update(addressType, [torn, other, addresses.find(({ name }) => name === "w2")!]));
  assert.deepEqual(
    rejected.map(({ name }) => name),
    ["w1", "w3"],
  );
  assert.deepEqual(names(mesh), ["db", "web"]);
});

test("H070 of a policy that never was good the newest version counts, as far as it can be read; of one that was, the good one", () => {
  // A scope that this version does not know.
  const version = (isBad: boolean, more: { action?: wire.Action; dryRun?: boolean } = {}): DeltaResource => {
    const scope = isBad ? (99 as wire.Scope) : wire.Scope.NAMESPACE;
    const [head, rules] = [{ name: "p", namespace: "shop", scope, extensions: [] }, [{ clauses: [] }]];
    const policy = { ...head, rules, action: wire.Action.DENY, dryRun: false, ...more };
    return { name: "shop/p", version: "1", bytes: wire.Authorization.encode(policy).finish() };
  };
  /** What is in force after these, one after the other. */
  const after = (...versions: readonly DeltaResource[]): unknown => {
    const mesh = new MeshInventory();
    const reader = new SliceReader();
    const state = new MeshState();
    for (const one of versions) {
      const { slices } = mesh.take(update(authorizationType, [one]));
      for (const slice of slices) state.apply(reader.updateOf(slice));
    }
    assert.deepEqual([...mesh.policies()], [state.policy("shop/p")]);
    const { action, dryRun, rules } = state.policy("shop/p")!;
    return { action, dryRun, matches: rules.length };
  };
  const [good, bad, dry] = [false, true, { dryRun: true }];
  const [denies, isDry] = [
    { action: "deny", dryRun: false, matches: 1 },
    { action: "deny", dryRun: true, matches: 1 },
  ];
  assert.deepEqual(after(version(bad, dry), version(bad)), denies, "a dry run is over when control says so");
  assert.deepEqual(after(version(bad, { action: wire.Action.ALLOW }), version(bad)), denies);
  assert.deepEqual(after(version(bad), version(bad, dry)), isDry);
  assert.deepEqual(after(version(good, dry), version(bad)), isDry, "the last good version stays");
  assert.deepEqual(after(version(bad, dry), version(good), version(bad, dry)), denies, "so it does");
});

test("while many policies take the place of many others nobody is let in whom neither lets in", () => {
  const some = (generation: string, action: string): string =>
    Array.from(
      { length: 30 },
      (_, at) => `- {name: ${generation}-${action}-${at}, namespace: shop, action: ${action}, rules: []}`,
    ).join("\n");
  const [old] = resourcesOf(`policies:\n${some("old", "Allow")}\n${some("old", "Deny")}`);
  const [next] = resourcesOf(`policies:\n${some("new", "Allow")}\n${some("new", "Deny")}`);
  const mesh = new MeshInventory();
  mesh.take(update(authorizationType, old));
  const gone = old.map(({ name }) => name);
  const { slices } = mesh.take(update(authorizationType, next, gone));
  assert.ok(slices.length > 3);
  const reader = new SliceReader();
  const inForce = new Set(gone);
  const count = (part: string): number => [...inForce].filter((name) => name.includes(part)).length;
  for (const slice of slices) {
    const { policies: added = [], removed } = reader.updateOf(slice);
    for (const name of removed?.policies ?? []) inForce.delete(name);
    for (const { key } of added) inForce.add(key);
    assert.ok(count("-Deny-") >= 30, "one of the two sets of DENY is whole, and the other only comes or only goes");
    assert.ok(count("old-Deny-") === 30 || count("new-Deny-") === 30);
    if (count("new-Allow-") > 0)
      assert.equal(count("new-Deny-"), 30, "and whom only a new ALLOW lets in, the new DENY");
    assert.ok(count("-Allow-") > 0, "without any ALLOW everybody would be let in");
    if (count("old-Deny-") < 30)
      assert.equal(count("old-Allow-"), 0, "whom only an old ALLOW lets in the old DENY still stops");
  }
  assert.equal(inForce.size, 60);
});

test("a worker that starts later waits for policies as long as the others do, and no longer", () => {
  const mesh = new MeshInventory();
  mesh.take(update(addressType, addresses));
  const fed = (): WorkerMesh => {
    const worker = new WorkerMesh(new ManualClock(), () => undefined);
    for (const slice of mesh.snapshot()) worker.apply(structuredClone(slice));
    return worker;
  };
  const web = { namespace: "shop", name: "web", serviceAccount: "default" };
  const early = fed();
  assert.deepEqual([early.workloadOf(web)?.uid, early.decidable(web)], ["w1", undefined]);
  // What is there of an answer that is being taken in is not all of it.
  for (const slice of mesh.take(update(authorizationType, policies)).slices) early.apply(slice);
  const between = fed();
  assert.deepEqual([early.decidable(web), between.decidable(web)], [undefined, undefined]);
  const complete = mesh.completePolicies();
  assert.ok(complete);
  for (const worker of [early, between]) worker.apply(structuredClone(complete));
  const late = fed();
  for (const worker of [early, between, late]) {
    assert.equal(worker.decidable(web)?.uid, "w1");
    assert.equal(worker.state.policiesOfNamespace("shop")?.isEmpty, false, "and by then it has them");
  }
  assert.equal(mesh.completePolicies(), undefined, "it is told once");
});

function resourcesOf(yaml: string): [readonly DeltaResource[], readonly DeltaResource[]] {
  const updates = localMesh(yaml);
  assert.ok(!(updates instanceof LocalMeshError));
  const [first, second] = updates;
  return [first?.resources ?? [], second?.resources ?? []];
}

function update(typeUrl: string, resources: readonly DeltaResource[], removed: readonly string[] = []): DeltaUpdate {
  return { typeUrl, nonce: "1", resources, removed };
}

function names(mesh: MeshInventory): string[] {
  return [...mesh.state.workloads()].map(({ name }) => name).sort();
}

function services(mesh: MeshInventory): string[] {
  return [...mesh.state.services()].map(({ name }) => name).sort();
}
