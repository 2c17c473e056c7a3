/** What a large mesh costs an agent, as far as it can be counted: work per slice, octets per workload, looks per decision. */
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { collectGarbage } from "../../agent/garbage.ts";
import { MeshInventory } from "../../agent/mesh-inventory.ts";
import { SliceReader, type MeshSlice } from "../../agent/mesh-slice.ts";
import { MeshState } from "../../core/decision/mesh-state.ts";
import { decideOutbound } from "../../core/decision/route.ts";
import { seededRandom } from "../../core/base/random.ts";
import type { MeshService } from "../../core/protocol/wds/service.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";
import { readDeltaResponse } from "../../core/protocol/xds/response-reader.ts";
import { addressResponse, policyResponse } from "../support/large-mesh.ts";
import { backs, cidr, pod, port, service } from "../support/mesh.ts";

const push = { workloads: 10_000, services: 400, policies: 0 };

suite("a push of 10,000 workloads", () => {
  const response = Buffer.from(addressResponse(push));
  const inventory = new MeshInventory("ip-10-20-7-17.eu-central-1.compute.internal");
  const { slices } = inventory.take(readDeltaResponse(response));

  test("comes to a worker in slices of at most 50 records", () => {
    const sizes = slices.map(recordsOf);
    assert.ok(Math.max(...sizes) <= 50);
    assert.equal(
      sizes.reduce((sum, count) => sum + count, 0),
      push.workloads + push.services,
    );
  });

  test("crosses to it as places in octets that all threads share: a slice's message is of a few hundred octets", () => {
    const longest = Math.max(...slices.map(({ packed = [] }) => JSON.stringify(packed.map(({ at }) => at)).length));
    assert.ok(longest <= 500, `${longest} characters`);
  });

  test("is held once for all threads, in no more octets than control sent", () => {
    const buffers = new Set(slices.flatMap(({ packed = [] }) => packed.map(({ octets }) => octets)));
    const held = [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0);
    assert.ok(held <= response.length, `${held} of ${response.length}`);
  });

  test("costs a worker less than 800 octets of heap for each workload", () => {
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    const { state } = loaded(slices);
    collectGarbage();
    const each = (process.memoryUsage().heapUsed - before) / state.counts.workloads;
    assert.ok(each < 800, `${each.toFixed(0)} octets`);
    assert.equal(state.counts.workloads, push.workloads);
  });

  test("has workloads of one deployment share what they have in common", () => {
    const { state } = loaded(slices);
    const workloads = [...state.workloads()];
    assert.ok(new Set(workloads.map(({ services }) => services)).size <= push.services);
    assert.ok(new Set(workloads.map(({ locality }) => locality)).size <= 3);
  });

  test("is decoded on the main thread for its own node alone", () => {
    const local = [...inventory.local()];
    assert.ok(local.length > 0 && local.length <= push.workloads / 100, `${local.length}`);
  });
});

test("costs of a policy: less than 3,000 octets of heap for each of 2,000", () => {
  const { slices } = new MeshInventory().take(
    readDeltaResponse(Buffer.from(policyResponse({ workloads: 0, services: 0, policies: 2_000 }))),
  );
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  const { state } = loaded(slices);
  collectGarbage();
  const each = (process.memoryUsage().heapUsed - before) / state.counts.policies;
  assert.ok(each < 3_000, `${each.toFixed(0)} octets`);
});

suite("a decision looks at as much of a mesh of 20,000 workloads as of one of 200", () => {
  const client = pod("shop/client", "10.255.0.1");
  const rows: [string, string][] = [
    ["F-031 by a workload's address", "10.64.0.77"],
    ["F-032 by a service's address", "10.96.0.1"],
    ["F-033 by a service's prefix", "192.168.5.9"],
    ["F-030 by an address that nobody has", "203.0.113.1"],
  ];
  const [small, large] = [meshOf(200), meshOf(20_000)];
  for (const [name, address] of rows) {
    test(name, () => {
      const looks = ({ state, reads }: ReturnType<typeof meshOf>): number => {
        const decide = (): unknown =>
          decideOutbound(state, {
            source: client,
            target: { address, port: 80 },
            network: "",
            random: seededRandom(1),
          });
        // What is found out about a service's endpoints is found out once.
        decide();
        reads.count = 0;
        decide();
        return reads.count;
      };
      const [few, many] = [looks(small), looks(large)];
      assert.ok(many <= few + 5, `${few} reads became ${many}`);
    });
  }
});

test("a workload that changes is taken in with as few looks in a mesh of 20,000 as in one of 200", () => {
  const looks = ({ state, reads }: ReturnType<typeof meshOf>): number => {
    reads.count = 0;
    state.apply({ workloads: [counted(workloadAt(77, { healthy: false }), reads)] });
    state.apply({ removed: { addresses: [workloadAt(77).uid] } });
    return reads.count;
  };
  assert.ok(looks(meshOf(20_000)) <= looks(meshOf(200)) + 5);
});

function loaded(slices: readonly MeshSlice[]): { readonly state: MeshState; readonly reader: SliceReader } {
  const [state, reader] = [new MeshState(), new SliceReader()];
  for (const slice of slices) state.apply(reader.updateOf(slice));
  return { state, reader };
}

function recordsOf({ packed = [], removed }: MeshSlice): number {
  const removals = (removed?.addresses?.length ?? 0) + (removed?.policies?.length ?? 0);
  return packed.reduce((sum, { at }) => sum + at.length, removals);
}

/** One service for each hundred workloads, each with an address and a prefix of its own. */
function meshOf(workloads: number): { readonly state: MeshState; readonly reads: { count: number } } {
  const reads = { count: 0 };
  const state = new MeshState();
  state.apply({
    services: Array.from({ length: workloads / 100 }, (_, at) => counted(serviceAt(at), reads)),
    workloads: Array.from({ length: workloads }, (_, at) => counted(workloadAt(at), reads)),
  });
  return { state, reads };
}

function serviceAt(at: number): MeshService {
  // Only that which is asked for has many endpoints in the small mesh too.
  const cidrVips = [{ network: "", ...cidr(`192.168.${at % 2 === 0 ? at % 250 : 5}.0/24`) }];
  return service(`shop/s${at}`, `10.96.${at >> 8}.${at & 255}`, [port(80, 8080)], { cidrVips });
}

function workloadAt(at: number, more: Partial<MeshWorkload> = {}): MeshWorkload {
  const services = backs([serviceAt(Math.trunc(at / 100)), port(80, 8080)]);
  return pod(`shop/w${at}`, `10.${64 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`, { services, ...more });
}

/** The same, telling how often anything of it was read. */
function counted<T extends object>(value: T, reads: { count: number }): T {
  return new Proxy(value, {
    get(target, name, receiver) {
      reads.count += 1;
      return Reflect.get(target, name, receiver) as unknown;
    },
  });
}
