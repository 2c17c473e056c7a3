/** Addresses that change hands in one update, seen between any two of its slices. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MeshState } from "../core/decision/mesh-state.ts";
import { Address } from "../core/protocol/generated/workload.ts";
import { addressType } from "../core/protocol/wds/address.ts";
import type { DeltaResource } from "../core/protocol/xds/delta-client.ts";
import { LocalMeshError } from "./local-mesh/fields.ts";
import { localMesh } from "./local-mesh/local-mesh.ts";
import { MeshInventory } from "./mesh-inventory.ts";
import { heaviestSlice, SliceReader, weights } from "./mesh-slice.ts";

const [pods, services, addresses] = [120, 20, 60];

/** Which address each has: undefined where it is not there. */
type Owners = readonly (number | undefined)[];

interface Mesh {
  readonly pods: Owners;
  readonly services: Owners;
}

const ownersOf = (count: number): fc.Arbitrary<Owners> =>
  fc.array(fc.option(fc.nat(addresses - 1), { nil: undefined, freq: 4 }), { minLength: count, maxLength: count });
const meshes: fc.Arbitrary<Mesh> = fc.record({ pods: ownersOf(pods), services: ownersOf(services) });

test("an address that somebody has before an update and somebody after is somebody's between any two of its slices", () => {
  let [most, passed] = [0, 0];
  fc.assert(
    fc.property(meshes, meshes, fc.infiniteStream(fc.nat()), (before, after, chance) => {
      const random = (below: number): number => (chance.next().value as number) % below;
      const inventory = new MeshInventory();
      const state = new MeshState();
      const reader = new SliceReader((uid) => state.workload(uid));
      const take = (resources: readonly DeltaResource[], removed: readonly string[]) => {
        const { slices } = inventory.take({ typeUrl: addressType, nonce: "1", resources, removed });
        return slices.map((slice) => () => void state.apply(reader.updateOf(structuredClone(slice))));
      };
      for (const apply of take(resourcesOf(before), [])) apply();
      const had = ownedIn(state);
      const sent = shuffled(resourcesOf(after), random);
      const names = new Set(sent.map(({ name }) => name));
      const gone = resourcesOf(before).filter(({ name }) => !names.has(name) || random(4) === 0);
      const applies = take(
        sent,
        gone.map(({ name }) => name),
      );
      const between = applies.map((apply) => {
        apply();
        return ownedIn(state);
      });
      const owned = ownedIn(state);
      for (const now of between)
        for (const address of owned) if (had.has(address)) assert.ok(now.has(address), `${address} is nobody's`);
      most = Math.max(most, applies.length);
      passed += [...had].filter((address) => ownerIn(state, address) !== undefined).length;
      assert.deepEqual(
        allAddresses.map((address) => ownerIn(state, address)),
        allAddresses.map((address) => ownerIn(inventory.state, address)),
        "and in the end it is whose it would be if all had come at once",
      );
    }),
    { numRuns: 30 },
  );
  assert.ok(most > 3 && passed > 500, `${most} slices, ${passed} addresses`);
});

test("an address that a pod leaves to another in a large push has the one until it has the other, and then it alone", () => {
  const inventory = new MeshInventory();
  const [state, reader] = [new MeshState(), new SliceReader()];
  const before = { pods: [1, 2], services: [] };
  const filler = Array.from({ length: 2 * heaviestSlice }, (_, at) => podAt(at + 10, at + 100));
  const take = (resources: readonly DeltaResource[], removed: readonly string[]): (string | undefined)[] => {
    const { slices } = inventory.take({ typeUrl: addressType, nonce: "1", resources, removed });
    return slices.map((slice) => {
      state.apply(reader.updateOf(slice));
      return state.workloadByAddress("", "10.0.0.1")?.uid;
    });
  };
  take(resourcesOf(before), []);
  // By name it is the same pod, which has been made anew.
  const moved = take([podAt(0, 3), ...filler, podAt(5, 1)], []);
  assert.deepEqual(moved, [...Array<string>(moved.length - 1).fill("pod-0"), "pod-5"]);
  assert.equal(state.workloadByAddress("", "10.0.0.3")?.uid, "pod-0");
  const removed = take([podAt(6, 1), ...filler], ["pod-5"]);
  assert.equal(removed.at(-1), "pod-6");
  assert.ok(removed.every((uid) => uid !== undefined));
  const left = take([podAt(6, 4), ...filler], []);
  assert.equal(left.at(-1), undefined, "what nobody takes over is nobody's when the push is over");
});

test("what is sent anew is not removed, unless it was of the other kind", () => {
  const inventory = new MeshInventory();
  const take = (resources: readonly DeltaResource[], removed: readonly string[]) =>
    inventory
      .take({ typeUrl: addressType, nonce: "1", resources, removed })
      .slices.map(({ removed: names }) => names?.addresses);
  take([podAt(1, 1), podAt(2, 2)], []);
  assert.deepEqual(take([podAt(1, 3)], ["pod-1", "pod-2"]), [["pod-2"]]);
  const [service] = resourcesOf({ pods: [], services: [7] });
  assert.ok(service);
  assert.deepEqual(take([podAt(4, 4, service.name)], []), [[]]);
  take([service], [service.name]);
  assert.deepEqual([inventory.state.counts.workloads, inventory.state.counts.services], [1, 1]);
});

test("the slices of an update say that more follow, but for the last", () => {
  const perSlice = heaviestSlice / weights.workload;
  for (const [count, slices] of [
    [1, 1],
    [perSlice - 1, 1],
    // What is full is handed on before it is known whether more comes.
    [perSlice, 2],
    [perSlice + 1, 2],
  ] as const) {
    const resources = Array.from({ length: count }, (_, at) => podAt(at, at));
    const cut = new MeshInventory().take({ typeUrl: addressType, nonce: "1", resources, removed: [] }).slices;
    assert.deepEqual(
      cut.map(({ isUnfinished = false }) => isUnfinished),
      Array.from({ length: slices }, (_, at) => at < slices - 1),
    );
  }
});

function resourcesOf({ pods: podOwners, services: serviceOwners }: Mesh): DeltaResource[] {
  return [
    ...podOwners.flatMap((address, at) => (address === undefined ? [] : [podAt(at, address)])),
    ...serviceOwners.flatMap((address, at) => (address === undefined ? [] : [serviceAt(at, address)])),
  ];
}

function podAt(at: number, address: number, uid = `pod-${at}`): DeltaResource {
  const workload = { ...podLike, uid, name: uid, addresses: [octets(10, address)] };
  return { name: uid, version: "", bytes: Address.encode({ type: { $case: "workload", value: workload } }).finish() };
}

function serviceAt(at: number, address: number): DeltaResource {
  const hostname = `service-${at}.test`;
  const vip = { network: "", address: octets(172, address), length: undefined };
  const service = { ...serviceLike, name: hostname, hostname, addresses: [vip] };
  const name = `${service.namespace}/${hostname}`;
  return { name, version: "", bytes: Address.encode({ type: { $case: "service", value: service } }).finish() };
}

function octets(first: number, last: number): Buffer {
  return Buffer.from([first, 0, 0, last]);
}

function ownedIn(state: MeshState): ReadonlySet<string> {
  return new Set(allAddresses.filter((address) => ownerIn(state, address) !== undefined));
}

function ownerIn(state: MeshState, address: string): string | undefined {
  return state.workloadByAddress("", address)?.uid ?? state.serviceByAddress("", address, "")?.service.key;
}

function shuffled<Item>(items: readonly Item[], random: (below: number) => number): Item[] {
  const all = [...items];
  for (let at = all.length - 1; at > 0; at--) {
    const other = random(at + 1);
    [all[at], all[other]] = [all[other]!, all[at]!];
  }
  return all;
}

/** One of each kind, as a mesh that is written down says it. */
const [serviceLike, podLike] = (() => {
  const updates = localMesh(`
workloads: [{uid: w, name: w, namespace: shop, workloadIps: [10.0.0.0], protocol: HBONE}]
services: [{name: s, namespace: shop, hostname: s.test, vips: [/172.0.0.0], ports: {80: 8080}}]`);
  assert.ok(!(updates instanceof LocalMeshError));
  const [service, workload] = updates[1]!.resources.map(({ bytes }) => Address.decode(bytes).type);
  assert.ok(service?.$case === "service" && workload?.$case === "workload");
  return [service.value, workload.value] as const;
})();
const allAddresses = [10, 172].flatMap((first) =>
  Array.from({ length: addresses }, (_, last) => `${first}.0.0.${last}`),
);
