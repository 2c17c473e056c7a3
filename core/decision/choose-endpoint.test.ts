import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { seededRandom } from "../base/random.ts";
import type { LoadBalancingRule, MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { chooseEndpoint, type EndpointQuery } from "./choose-endpoint.ts";
import { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";

const client = pod("shop/client", "10.1.0.1", {
  network: "east",
  clusterId: "c1",
  locality: { region: "r1", zone: "z1", subzone: "s1" },
});
const cart = service("shop/cart", "10.96.0.1", [port(80, 8080), port(90, 0)]);

function endpoint(name: string, more: Partial<MeshWorkload> = {}): MeshWorkload {
  return pod(`shop/${name}`, "10.1.0.5", {
    network: "east",
    clusterId: "c1",
    locality: client.locality,
    services: backs([cart, port(80, 8080), port(90, 9090)]),
    ...more,
  });
}

/** How often each name is chosen in 1,000 tries; "none" when refused. */
function shares(
  workloads: MeshWorkload[],
  more: Partial<EndpointQuery> = {},
  about: Partial<MeshService> = {},
): Record<string, number> {
  const state = new MeshState();
  const asked = { ...cart, ...about };
  state.apply({ services: [asked], workloads });
  const random = seededRandom(3);
  const counts: Record<string, number> = {};
  for (let i = 0; i < 1_000; i++) {
    const choice = chooseEndpoint(
      state,
      { source: client, service: asked, servicePort: 80, purpose: "service", random, ...more },
      [],
    );
    const name = choice.kind === "none" ? choice.reason : `${choice.workload.name}:${choice.port}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

function balancing(
  mode: LoadBalancingRule["mode"],
  ...preferences: LoadBalancingRule["preferences"]
): Partial<MeshService> {
  return { loadBalancing: { mode, preferences, allowUnhealthy: false } };
}

describe("capacity", () => {
  test("F-051 weighs the choice", () => {
    const counts = shares([endpoint("big", { capacity: 3 }), endpoint("small")]);
    const big = counts["big:8080"] ?? 0;
    assert.ok(big > 700 && big < 800, `${big} of 1,000`);
    assert.equal(big + (counts["small:8080"] ?? 0), 1_000);
  });

  test("F-051 of 0 takes an endpoint out, and nothing is chosen when all are", () => {
    assert.deepEqual(shares([endpoint("drained", { capacity: 0 }), endpoint("open")]), { "open:8080": 1_000 });
    assert.deepEqual(shares([endpoint("drained", { capacity: 0 })]), { NO_HEALTHY_UPSTREAM: 1_000 });
  });
});

describe("health", () => {
  test("F-054 unhealthy endpoints get nothing, unless the service allows all", () => {
    const workloads = [endpoint("sick", { healthy: false }), endpoint("well")];
    assert.deepEqual(shares(workloads), { "well:8080": 1_000 });
    const all = shares(workloads, {}, { loadBalancing: { mode: "any", preferences: [], allowUnhealthy: true } });
    assert.deepEqual(Object.keys(all).sort(), ["sick:8080", "well:8080"]);
  });
});

describe("ports", () => {
  test("F-048 a named target port is each endpoint's own", () => {
    const workloads = [
      endpoint("one", { services: backs([cart, port(90, 9091)]) }),
      endpoint("two", { services: backs([cart, port(90, 9092)]) }),
      endpoint("without", { services: backs([cart]) }),
    ];
    assert.deepEqual(Object.keys(shares(workloads, { servicePort: 90 })).sort(), ["one:9091", "two:9092"]);
  });

  test("F-048 the endpoint's mapping goes before the service's target port", () => {
    assert.deepEqual(shares([endpoint("own", { services: backs([cart, port(80, 7000)]) })]), { "own:7000": 1_000 });
    assert.deepEqual(shares([endpoint("bare", { services: backs([cart]) })]), { "bare:8080": 1_000 });
  });

  test("F-035 a named port that no endpoint has is told apart from having no endpoint", () => {
    assert.deepEqual(shares([endpoint("bare", { services: backs([cart]) })], { servicePort: 90 }), {
      NO_SERVICE_PORT: 1_000,
    });
  });
});

describe("locality", () => {
  const here = endpoint("here");
  const nextZone = endpoint("next-zone", { locality: { region: "r1", zone: "z2", subzone: "s1" } });
  const abroad = endpoint("abroad", { locality: { region: "r2", zone: "z1", subzone: "s1" } });
  const rows: [string, Partial<MeshService>, MeshWorkload[], string[]][] = [
    ["F-052 without a mode plays no part", balancing("any", "region"), [here, abroad], ["abroad", "here"]],
    ["F-052 FAILOVER keeps the nearest", balancing("failover", "region", "zone"), [here, nextZone, abroad], ["here"]],
    [
      "F-052 FAILOVER goes on to the next when the nearest is gone",
      balancing("failover", "region", "zone"),
      [nextZone, abroad],
      ["next-zone"],
    ],
    ["F-052 FAILOVER takes any in the end", balancing("failover", "region", "zone"), [abroad], ["abroad"]],
    [
      "F-052 a preference counts only after those before it",
      balancing("failover", "region", "zone"),
      [abroad, endpoint("far", { locality: { region: "r3", zone: "z9", subzone: "" } })],
      ["abroad", "far"],
    ],
    ["F-052 STRICT drops what does not match all", balancing("strict", "region", "zone"), [here, nextZone], ["here"]],
    [
      "F-052 STRICT refuses when nothing matches all",
      balancing("strict", "region", "zone"),
      [nextZone, abroad],
      ["NO_HEALTHY_UPSTREAM"],
    ],
    [
      "F-052 STRICT on the node keeps the node's own",
      balancing("strict", "node"),
      [here, endpoint("other-node", { node: "node2" })],
      ["here"],
    ],
    [
      "F-052 clusters and subzones count too",
      balancing("failover", "cluster", "subzone"),
      [endpoint("other-cluster", { clusterId: "c2" }), here],
      ["here"],
    ],
    [
      "F-053 NETWORK first: any on this network outranks every other",
      balancing("failover", "network", "region", "zone"),
      [
        endpoint("remote-twin", { network: "west" }),
        endpoint("local-far", { locality: { region: "r9", zone: "z9", subzone: "" } }),
      ],
      ["local-far"],
    ],
    [
      "F-053 NETWORK first: among remote ones the later preferences count",
      balancing("failover", "network", "region", "zone"),
      [
        endpoint("remote-twin", { network: "west" }),
        endpoint("remote-far", { network: "west", locality: { region: "r9", zone: "z9", subzone: "" } }),
      ],
      ["remote-twin"],
    ],
    [
      "F-053 NETWORK not first stops where it does not match",
      balancing("failover", "region", "network", "zone"),
      [
        endpoint("remote-twin", { network: "west" }),
        endpoint("remote-zone", { network: "west", locality: { region: "r1", zone: "z9", subzone: "" } }),
      ],
      ["remote-twin", "remote-zone"],
    ],
  ];
  for (const [name, about, workloads, expected] of rows) {
    test(name, () => {
      const names = Object.keys(shares(workloads, {}, about)).map((one) => one.replace(/:\d+$/, ""));
      assert.deepEqual(names.sort(), expected);
    });
  }
});

describe("reachability", () => {
  test("an endpoint with neither address nor name is dropped, unless a gateway leads to its network", () => {
    const bare = endpoint("bare", { addresses: [] });
    assert.deepEqual(shares([bare]), { NO_HEALTHY_UPSTREAM: 1_000 });
    assert.deepEqual(shares([{ ...bare, network: "west" }]), { NO_HEALTHY_UPSTREAM: 1_000 });
    const networkGateway = {
      destination: { kind: "address", network: "west", address: "203.0.113.1" },
      port: 15_008,
    } as const;
    assert.deepEqual(shares([{ ...bare, network: "west", networkGateway }]), { "bare:8080": 1_000 });
    assert.deepEqual(shares([{ ...bare, hostname: "bare.example" }]), { "bare:8080": 1_000 });
  });
});

test("whatever the endpoints, one is chosen only if it may be, and one is chosen whenever one may be", () => {
  const zone = fc.constantFrom("z1", "z2");
  const anyEndpoint = fc.record({
    healthy: fc.boolean(),
    capacity: fc.constantFrom(0, 1, 5),
    node: fc.constantFrom("node1", "node2"),
    network: fc.constantFrom("east", "west"),
    hasAddress: fc.boolean(),
    target: fc.constantFrom(0, 7000),
    excluded: fc.boolean(),
    zone,
  });
  const scopes = fc.subarray(["network", "region", "zone", "node"] as const, { minLength: 0 });
  fc.assert(
    fc.property(
      fc.array(anyEndpoint, { maxLength: 8 }),
      fc.constantFrom("any" as const, "strict" as const, "failover" as const),
      scopes,
      fc.boolean(),
      fc.constantFrom(80, 90),
      fc.integer(),
      (rows, mode, preferences, allowUnhealthy, servicePort, seed) => {
        const asked = { ...cart, loadBalancing: { mode, preferences, allowUnhealthy } };
        const workloads = rows.map((row, at) =>
          endpoint(`e${at}`, {
            healthy: row.healthy,
            capacity: row.capacity,
            node: row.node,
            network: row.network,
            addresses: row.hasAddress ? [`10.1.0.${at}`] : [],
            locality: { region: "r1", zone: row.zone, subzone: "" },
            services: backs([cart, port(servicePort, row.target)]),
          }),
        );
        const exclude = new Set(workloads.filter((_, at) => rows[at]?.excluded).map(({ uid }) => uid));
        const state = new MeshState();
        state.apply({ workloads });
        state.apply({ services: [asked] });
        const mayBeChosen = (workload: MeshWorkload, at: number): boolean =>
          (workload.healthy || allowUnhealthy) &&
          workload.capacity > 0 &&
          workload.addresses.length > 0 &&
          !exclude.has(workload.uid) &&
          (servicePort === 80 || rows[at]?.target !== 0) &&
          (mode !== "strict" ||
            preferences.every((scope) =>
              scope === "network" || scope === "node"
                ? workload[scope] === client[scope]
                : workload.locality[scope] === client.locality[scope],
            ));
        const eligible = workloads.filter(mayBeChosen).map(({ uid }) => uid);
        const trace: TraceStep[] = [];
        const query = {
          source: client,
          service: asked,
          servicePort,
          purpose: "service",
          random: seededRandom(seed),
          exclude,
        } as const;
        const choice = chooseEndpoint(state, query, trace);
        if (choice.kind === "none") assert.deepEqual(eligible, []);
        else assert.ok(eligible.includes(choice.workload.uid));
        assert.equal(trace[0]?.code, "endpoints-considered");
      },
    ),
    { numRuns: 2_000 },
  );
});
