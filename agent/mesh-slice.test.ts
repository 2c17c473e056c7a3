import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MeshState, type MeshUpdate } from "../core/decision/mesh-state.ts";
import { Address } from "../core/protocol/generated/workload.ts";
import { readDeltaResponse } from "../core/protocol/xds/response-reader.ts";
import { addressType } from "../core/protocol/wds/address.ts";
import { authorizationType } from "../core/protocol/wds/authorization.ts";
import type { DeltaResource, DeltaUpdate } from "../core/protocol/xds/delta-client.ts";
import { addressResponse, policyResponse } from "../test/support/large-mesh.ts";
import type { MeshWorkload } from "../core/protocol/wds/workload.ts";
import { MeshInventory } from "./mesh-inventory.ts";
import { heaviestSlice, SliceReader, weights } from "./mesh-slice.ts";
import { TrafficSeries, type Series } from "./metrics/traffic-series.ts";
import { baggageOf } from "./worker/baggage.ts";

const source = { address: "10.0.0.9", port: 1 };
const size = { workloads: 40, services: 6, policies: 12 };
const versions = ["1", "2"].map((version) => ({
  addresses: readDeltaResponse(Buffer.from(addressResponse(size, version))).resources,
  policies: readDeltaResponse(Buffer.from(policyResponse(size, version))).resources,
}));
const addressNames = versions[0]!.addresses.map(({ name }) => name);
const policyNames = versions[0]!.policies.map(({ name }) => name);

test("in whatever pieces a mesh comes, workers know in the end what they would know of all of it at once", () => {
  fc.assert(
    fc.property(fc.array(updates, { maxLength: 12 }), fc.nat(), (all, cut) => {
      const inventory = new MeshInventory("node1");
      const [worker, whole] = [new MeshState(), new MeshState()];
      const [reader, other] = [new SliceReader((uid) => worker.workload(uid)), new SliceReader()];
      let late: MeshState | undefined;
      for (const [at, update] of all.entries()) {
        const { slices } = inventory.take(update);
        for (const slice of slices) worker.apply(reader.updateOf(structuredClone(slice)));
        whole.apply(joined(slices.map((slice) => other.updateOf(slice))));
        // One that begins in the midst is fed with everything, and then with what follows.
        if (at === cut % all.length) late = inventory.state;
        else for (const slice of slices) late?.apply(new SliceReader().updateOf(slice));
      }
      assert.deepEqual(contentOf(worker), contentOf(whole));
      assert.deepEqual(contentOf(worker), contentOf(inventory.state));
      if (late !== undefined) assert.deepEqual(contentOf(worker), contentOf(late));
    }),
    { numRuns: 200 },
  );
});

test("an update that fits into a slice is one, so that nobody meets half of it", () => {
  const inventory = new MeshInventory();
  const { slices } = inventory.take({
    typeUrl: addressType,
    nonce: "1",
    resources: versions[0]!.addresses.slice(0, 9),
    removed: ["gone", "c//Pod/gone/too"],
  });
  assert.equal(slices.length, 1);
  assert.deepEqual(slices[0]?.removed?.addresses, ["gone", "c//Pod/gone/too"]);
});

test("a workload of which only what it shares with others changes stays the object that it was, and says the new", () => {
  const [state, inventory] = [new MeshState(), new MeshInventory()];
  const reader = new SliceReader((uid) => state.workload(uid));
  const take = (version: number): MeshWorkload[] => {
    const { slices } = inventory.take(pushOf(versions[version]!.addresses));
    for (const slice of slices) state.apply(reader.updateOf(slice));
    return [...state.workloads()];
  };
  const before = take(0);
  const [heard, revision, series] = [baggageOf(before[0]!), before[0]!.canonicalRevision, new TrafficSeries()];
  const counted = (): Series =>
    series.of({ direction: "inbound", protocol: "tcp", trace: "", source, sourceWorkload: before[0]! }, "-", 0);
  const first = counted();
  const after = take(1);
  assert.equal(
    after.every((workload, at) => workload === before[at]),
    true,
  );
  assert.notEqual(after[0]!.canonicalRevision, revision);
  assert.equal(baggageOf(after[0]!).serviceVersion, after[0]!.canonicalRevision);
  assert.equal(heard.serviceVersion, revision);
  assert.notEqual(counted(), first, "its connections are counted under what it is now");
  assert.deepEqual(contentOf(state), contentOf(inventory.state));
});

test("workers hear nothing of what is said again, but of workloads that list policies", () => {
  const inventory = new MeshInventory();
  const { addresses } = versions[0]!;
  assert.ok(inventory.take(pushOf(addresses)).slices.length > 0);
  const again = inventory.take(pushOf(addresses));
  const reader = new SliceReader();
  const heard = again.slices.flatMap((slice) => reader.updateOf(slice).workloads ?? []);
  const listing = [...inventory.workloads()].filter(({ policies }) => policies.length > 0);
  assert.deepEqual(heard.map(({ uid }) => uid).sort(), listing.map(({ uid }) => uid).sort());
  assert.ok(listing.length > 0 && listing.length < addresses.length / 2);
  assert.deepEqual(
    again.slices.flatMap((slice) => reader.updateOf(slice).services ?? []),
    [],
  );
});

test("of a push that does not fit services are heard before workloads that back them, and removals last", () => {
  const many = { workloads: 300, services: 30, policies: 0 };
  const { resources } = readDeltaResponse(Buffer.from(addressResponse(many)));
  const inventory = new MeshInventory();
  const removed = Array.from({ length: 120 }, (_, at) => `gone-${at}`);
  const { slices } = inventory.take({ typeUrl: addressType, nonce: "1", resources: resources.toReversed(), removed });
  const reader = new SliceReader();
  const order = slices.flatMap((slice) => {
    const { removed: names, services = [], workloads = [] } = reader.updateOf(slice);
    return [
      ...services.map(() => "service"),
      ...workloads.map(() => "workload"),
      ...(names?.addresses ?? []).map(() => "removal"),
    ];
  });
  assert.deepEqual(order, [
    ...Array<string>(30).fill("service"),
    ...Array<string>(300).fill("workload"),
    ...Array<string>(120).fill("removal"),
  ]);
});

test("no slice is heavier than a turn may be", () => {
  const inventory = new MeshInventory();
  const many = { workloads: 1_000, services: 40, policies: 200 };
  const intakes = [
    inventory.take(readDeltaResponse(Buffer.from(policyResponse(many)))),
    inventory.take(readDeltaResponse(Buffer.from(addressResponse(many)))),
  ];
  for (const { slices, rejected } of intakes) {
    assert.deepEqual(rejected, []);
    for (const slice of slices) {
      const { workloads = [], services = [], policies = [] } = new SliceReader().updateOf(slice);
      const weight =
        workloads.length * weights.workload + services.length * weights.service + policies.length * weights.policy;
      assert.ok(weight < heaviestSlice + weights.service, `${weight}`);
    }
  }
});

/** As objects, in one piece. */
function joined(all: readonly MeshUpdate[]): MeshUpdate {
  return {
    workloads: all.flatMap(({ workloads = [] }) => workloads),
    services: all.flatMap(({ services = [] }) => services),
    policies: all.flatMap(({ policies = [] }) => policies),
    removed: {
      addresses: all.flatMap(({ removed }) => removed?.addresses ?? []),
      policies: all.flatMap(({ removed }) => removed?.policies ?? []),
    },
  };
}

function pushOf(resources: readonly DeltaResource[]): DeltaUpdate {
  return { typeUrl: addressType, nonce: "1", resources, removed: [] };
}

/** Everything that can be asked for, whatever the order in which it came. */
function contentOf(state: MeshState): unknown {
  const workloads = [...state.workloads()].sort((one, other) => (one.uid < other.uid ? -1 : 1));
  const services = [...state.services()].sort((one, other) => (one.key < other.key ? -1 : 1));
  return {
    counts: state.counts,
    workloads: workloads.map((workload) => ({
      uid: workload.uid,
      revision: workload.canonicalRevision,
      healthy: workload.healthy,
      byName: state.workloadOf(workload.namespace, workload.name)?.uid,
      byAddress: workload.addresses.map((address) => state.workloadByAddress(workload.network, address)?.uid),
      unknown: state.policiesListedBy(workload).unknown,
    })),
    services: services.map((service) => ({
      ...service,
      byAddress: service.vips.map(({ network, address }) => state.serviceByAddress(network, address, "")?.service.key),
      byHostname: state.serviceByHostname(service.hostname, "")?.key,
      healthy: [...state.endpoints(service).keys()].sort(),
      behind: [...state.workloadsBehind(service.key)].map(({ uid }) => uid).sort(),
    })),
    policies: policyNames.map((name) => state.policy(name)),
  };
}

const updates: fc.Arbitrary<DeltaUpdate> = fc.oneof(
  fc
    .record({
      version: fc.constantFrom(...versions),
      sent: fc.uniqueArray(fc.nat(addressNames.length - 1), { maxLength: addressNames.length }),
      removed: fc.array(fc.constantFrom(...addressNames), { maxLength: 20 }),
      torn: fc.nat(30),
    })
    .map(({ version, sent, removed, torn }) => ({
      typeUrl: addressType,
      nonce: "1",
      resources: sent.map((at) => (at === torn ? damaged(version.addresses[at]!) : version.addresses[at]!)),
      removed,
    })),
  fc
    .record({
      version: fc.constantFrom(...versions),
      sent: fc.uniqueArray(fc.nat(policyNames.length - 1)),
      removed: fc.array(fc.constantFrom(...policyNames)),
    })
    .map(({ version, sent, removed }) => ({
      typeUrl: authorizationType,
      nonce: "1",
      resources: sent.map((at) => version.policies[at]!),
      removed,
    })),
);

function damaged({ name, version }: DeltaResource): DeltaResource {
  return { name, version, bytes: Address.encode({ type: undefined }).finish() };
}
