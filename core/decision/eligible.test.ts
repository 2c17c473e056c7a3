import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { backs, gatewayAt, pod, port, service } from "../../test/support/mesh.ts";
import { seededRandom } from "../base/random.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { EndpointQuery } from "./choose-endpoint.ts";
import { eligibleOf } from "./eligible.ts";
import { MeshState } from "./mesh-state.ts";

const cart = service("shop/cart", "10.96.0.1", [port(80, 8080), port(90, 0)]);
/** More than are looked at each time. */
const count = 24;

function endpoint(at: number, more: Partial<MeshWorkload> = {}): MeshWorkload {
  return pod(`shop/e${at}`, `10.1.0.${at}`, {
    node: `node${at % 2}`,
    locality: { region: "r", zone: `z${at % 3}`, subzone: "" },
    ...(at % 6 === 0 && { applicationTunnel: { protocol: "none", port: 1 } as const }),
    services: backs([cart, port(80, 8080), ...(at % 4 === 0 ? [] : [port(90, 9090)])]),
    ...more,
  });
}

test("F-051 F-052 F-054 whatever changed and was asked before, endpoints are those that somebody who asks first is told", () => {
  const change = fc.record({
    kind: fc.constant("change" as const),
    at: fc.nat(3),
    to: fc.constantFrom<Partial<MeshWorkload> | "gone">(
      "gone",
      {},
      { healthy: false },
      { capacity: 0 },
      { capacity: 5 },
      { node: "node9" },
      { services: new Map() },
      { addresses: [] },
      { addresses: [], network: "west", networkGateway: gatewayAt(cart) },
      { applicationTunnel: { protocol: "none", port: 1 } },
    ),
  });
  const becomes = fc.record({
    kind: fc.constant("becomes" as const),
    to: fc.constantFrom<Partial<MeshService>>(
      {},
      { loadBalancing: { mode: "failover", preferences: ["zone", "node"], allowUnhealthy: false } },
      { loadBalancing: { mode: "strict", preferences: ["node"], allowUnhealthy: true } },
      { ports: [port(80, 8181), port(90, 9191)] },
    ),
  });
  const ask = fc.record({
    kind: fc.constant("ask" as const),
    node: fc.constantFrom("node0", "node1", "node9"),
    zone: fc.constantFrom("z0", "z1"),
    network: fc.constantFrom("", "west"),
    servicePort: fc.constantFrom(80, 90, 95),
    purpose: fc.constantFrom("service" as const, "waypoint" as const),
    exclude: fc.constantFrom<string[]>([], [], [endpoint(1).uid, endpoint(2).uid]),
  });
  fc.assert(
    fc.property(fc.array(fc.oneof(change, becomes, { weight: 3, arbitrary: ask }), { maxLength: 25 }), (steps) => {
      let asked: MeshService = cart;
      const workloads = new Map(Array.from({ length: count }, (_, at) => [at, endpoint(at)]));
      const state = new MeshState();
      state.apply({ services: [asked], workloads: [...workloads.values()] });
      for (const step of steps) {
        if (step.kind === "becomes") {
          state.apply({ services: [(asked = { ...cart, ...step.to })] });
        } else if (step.kind === "change") {
          if (step.to === "gone") {
            workloads.delete(step.at);
            state.apply({ removed: { addresses: [endpoint(step.at).uid] } });
          } else {
            workloads.set(step.at, endpoint(step.at, step.to));
            state.apply({ workloads: [endpoint(step.at, step.to)] });
          }
        } else {
          const { node, zone, network, servicePort, purpose } = step;
          const source = pod("shop/client", "10.9.0.1", {
            node,
            network,
            locality: { region: "r", zone, subzone: "" },
          });
          const exclude = new Set(step.exclude);
          const query = { source, service: asked, servicePort, purpose, exclude, random: seededRandom(1) };
          const first = new MeshState();
          first.apply({ services: [asked], workloads: [...workloads.values()] });
          assert.deepEqual(told(state, query), told(first, query));
        }
      }
    }),
    { numRuns: 1_500 },
  );
});

test("F-051 an endpoint that comes after others were asked for is among them", () => {
  const state = new MeshState();
  state.apply({ services: [cart], workloads: Array.from({ length: count }, (_, at) => endpoint(at)) });
  const random = seededRandom(1);
  const query = { source: endpoint(0), service: cart, servicePort: 80, purpose: "service", random } as const;
  const before = eligibleOf(state.endpointView(cart), query);
  assert.equal(eligibleOf(state.endpointView(cart), query), before, "nothing changed, nothing is looked at again");
  state.apply({ workloads: [endpoint(count)] });
  assert.equal(eligibleOf(state.endpointView(cart), query).workloads.length, before.workloads.length + 1);
});

test("F-056 in whatever order workloads of one address come and go, the preferred one of those that are left is meant", () => {
  const arbitrary = fc.uniqueArray(
    fc.record({ at: fc.nat(40), isPod: fc.boolean(), isHbone: fc.boolean(), stays: fc.boolean() }),
    { selector: ({ at }) => at, minLength: 1, maxLength: 20 },
  );
  fc.assert(
    fc.property(arbitrary, (rows) => {
      const state = new MeshState();
      const all = rows.map(({ at, isPod, isHbone, stays }) => {
        const one = pod(`shop/w${at}`, "10.1.0.1", { tunnel: isHbone ? "hbone" : "tcp" });
        return {
          stays,
          merit: (isPod ? 2 : 0) + (isHbone ? 1 : 0),
          workload: isPod ? one : { ...one, uid: `x/${at}` },
        };
      });
      for (const { workload } of all) state.apply({ workloads: [workload] });
      for (const { workload, stays } of all) if (!stays) state.apply({ removed: { addresses: [workload.uid] } });
      const [best] = all
        .filter(({ stays }) => stays)
        .sort((a, b) => b.merit - a.merit || (a.workload.uid < b.workload.uid ? -1 : 1));
      assert.equal(state.workloadByAddress("", "10.1.0.1")?.uid, best?.workload.uid);
    }),
    { numRuns: 500 },
  );
});

/** Without order, and with capacities for sums. */
function told(state: MeshState, query: EndpointQuery): unknown {
  const { workloads, ports, sums, usable, portless } = eligibleOf(state.endpointView(query.service), query);
  const rows = workloads.map(({ uid }, at) => [uid, ports[at], (sums[at] ?? 0) - (sums[at - 1] ?? 0)]);
  return { rows: rows.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)), usable, portless };
}
