import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backs, gatewayAt, pod, port, service } from "../../test/support/mesh.ts";
import type { Endpoint } from "../base/ip.ts";
import { seededRandom } from "../base/random.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import { MeshState, type MeshUpdate } from "./mesh-state.ts";
import { decideOutbound, type OutboundDecision, type OutboundFacts } from "./route.ts";

const client = pod("shop/client", "10.1.0.1");
const cart = service("shop/cart", "10.96.0.1", [port(80, 8080)]);
const cartPod = pod("shop/cart-1", "10.1.0.5", { serviceAccount: "cart", services: backs([cart, port(80, 8080)]) });
const waypoint = service("shop/waypoint", "10.96.0.9", [port(15_008, 15_008)]);
const waypointPod = pod("shop/waypoint-1", "10.1.0.40", {
  tunnel: "tcp",
  serviceAccount: "waypoint",
  services: backs([waypoint, port(15_008, 15_008)]),
});
const atCart: Endpoint = { address: "10.96.0.1", port: 80 };

function decide(update: MeshUpdate, target: Endpoint, more: Partial<OutboundFacts> = {}): OutboundDecision {
  const state = new MeshState();
  state.apply(update);
  return decideOutbound(state, { source: client, target, network: "", random: seededRandom(1), ...more });
}

describe("waypoints", () => {
  const services = (reference: Partial<MeshService>): MeshService[] => [{ ...cart, ...reference }, waypoint];
  const through = (update: MeshUpdate, more: Partial<OutboundFacts> = {}): string => {
    const decision = decide(update, atCart, more);
    return decision.kind === "hbone" ? `${decision.via} ${text(decision.tunnel)}` : decision.kind;
  };

  test("F-039 may be named by the address of their service", () => {
    const byAddress = { destination: { kind: "address", network: "", address: "10.96.0.9" }, port: 15_008 } as const;
    const update = { services: services({ waypoint: byAddress }), workloads: [cartPod, waypointPod] };
    assert.equal(through(update), "waypoint 10.1.0.40 15008");
  });

  test("F-039 may be named by the address of a pod, with a port of their own", () => {
    const byAddress = { destination: { kind: "address", network: "", address: "10.1.0.40" }, port: 16_008 } as const;
    const update = { services: services({ waypoint: byAddress }), workloads: [cartPod, waypointPod] };
    assert.equal(through(update), "waypoint 10.1.0.40 16008");
  });

  test("F-039 may be named by the hostname of a workload", () => {
    const external = { ...waypointPod, hostname: "wp.example", addresses: ["10.1.0.41"], services: new Map() };
    const byHostname = {
      destination: { kind: "hostname", namespace: "shop", hostname: "wp.example" },
      port: 15_008,
    } as const;
    const update = { services: services({ waypoint: byHostname }), workloads: [cartPod, external] };
    assert.equal(through(update), "waypoint 10.1.0.41 15008");
  });

  test("F-064 behind an application tunnel may take a port that their service does not declare", () => {
    const bare = { ...waypoint, ports: [] };
    const update = {
      services: [{ ...cart, waypoint: gatewayAt(bare) }, bare],
      workloads: [
        cartPod,
        { ...waypointPod, services: backs([bare]), applicationTunnel: { protocol: "proxy", port: 15_088 } as const },
      ],
    };
    assert.equal(through(update), "waypoint 10.1.0.40 15008");
    const plain = { ...update, workloads: [cartPod, { ...waypointPod, services: backs([bare]) }] };
    assert.equal(through(plain), "refuse");
  });

  test("F-037 weighted waypoints share connections by weight, and weight 0 gets none", () => {
    const other = service("shop/canary", "10.96.0.10", [port(15_008, 15_008)]);
    const never = service("shop/never", "10.96.0.11", [port(15_008, 15_008)]);
    const otherPod = pod("shop/canary-1", "10.1.0.42", { services: backs([other, port(15_008, 15_008)]) });
    const neverPod = pod("shop/never-1", "10.1.0.43", { services: backs([never, port(15_008, 15_008)]) });
    const weightedWaypoints = [
      { destination: gatewayAt(never), weight: 0 },
      { destination: gatewayAt(waypoint), weight: 9 },
      { destination: gatewayAt(other), weight: 1 },
    ];
    const state = new MeshState();
    state.apply({
      services: [{ ...cart, weightedWaypoints }, waypoint, other, never],
      workloads: [cartPod, waypointPod, otherPod, neverPod],
    });
    const random = seededRandom(7);
    const seen = new Map<string, number>();
    for (let i = 0; i < 1_000; i++) {
      const decision = decideOutbound(state, { source: client, target: atCart, network: "", random });
      const to = decision.kind === "hbone" ? decision.tunnel.address : decision.kind;
      seen.set(to, (seen.get(to) ?? 0) + 1);
    }
    assert.deepEqual([...seen.keys()].sort(), ["10.1.0.40", "10.1.0.42"]);
    const share = (seen.get("10.1.0.42") ?? 0) / 1_000;
    assert.ok(share > 0.07 && share < 0.13, `canary share ${share}`);
  });

  test("F-037 without any weight above 0 the single waypoint counts", () => {
    const weightedWaypoints = [{ destination: gatewayAt(service("shop/never", "", [])), weight: 0 }];
    const update = {
      services: services({ waypoint: gatewayAt(waypoint), weightedWaypoints }),
      workloads: [cartPod, waypointPod],
    };
    assert.equal(through(update), "waypoint 10.1.0.40 15008");
  });

  test("F-036 a PASSTHROUGH service with a waypoint goes to the waypoint all the same", () => {
    const passthrough = { mode: "passthrough", preferences: [], allowUnhealthy: false } as const;
    const update = {
      services: services({ waypoint: gatewayAt(waypoint), loadBalancing: passthrough }),
      workloads: [waypointPod],
    };
    assert.equal(through(update), "waypoint 10.1.0.40 15008");
  });

  test("F-038 of workloads do not serve those who address a service", () => {
    const update = { services: services({}), workloads: [{ ...cartPod, waypoint: gatewayAt(waypoint) }, waypointPod] };
    assert.equal(through(update), "workload 10.1.0.5 15008");
  });

  test("F-040 do not get their own traffic back, neither for a workload nor for a service", () => {
    const fronted = { ...cartPod, waypoint: gatewayAt(waypoint) };
    const update = { services: services({ waypoint: gatewayAt(waypoint) }), workloads: [fronted, waypointPod] };
    assert.equal(through(update, { source: waypointPod }), "workload 10.1.0.5 15008");
    const byPod = decide(update, { address: "10.1.0.5", port: 8080 }, { source: waypointPod });
    assert.equal(byPod.kind === "hbone" && byPod.via, "workload");
  });

  test("F-040 are told from pods that merely have the same address on another network", () => {
    const byAddress = { destination: { kind: "address", network: "", address: "10.1.0.40" }, port: 15_008 } as const;
    const update = { services: services({ waypoint: byAddress }), workloads: [cartPod, waypointPod] };
    assert.equal(through(update, { source: waypointPod }), "workload 10.1.0.5 15008");
    const twin = { ...pod("shop/twin", "10.1.0.40"), hostNetwork: true };
    assert.equal(through(update, { source: twin }), "waypoint 10.1.0.40 15008");
    assert.equal(through(update, { source: { ...waypointPod, network: "west" } }), "refuse", "never past it");
  });

  test("F-036 another pod of the waypoint is tried when one is set aside", () => {
    const second = { ...waypointPod, uid: "Kubernetes//Pod/shop/waypoint-2", addresses: ["10.1.0.44"] };
    const update = { services: services({ waypoint: gatewayAt(waypoint) }), workloads: [cartPod, waypointPod, second] };
    assert.equal(through(update, { exclude: new Set([waypointPod.uid]) }), "waypoint 10.1.0.44 15008");
  });

  test("F-039 named by an address are reached by that address or one of its family", () => {
    const dual = { ...waypointPod, addresses: ["10.1.0.40", "fd00:1::40"] };
    const named = (address: string): GatewayRef => ({
      destination: { kind: "address", network: "", address },
      port: 15_008,
    });
    const to = (address: string): string =>
      through({
        services: [
          { ...cart, waypoint: named(address) },
          { ...waypoint, vips: [...waypoint.vips, { network: "", address: "fd00:96::9" }] },
        ],
        workloads: [cartPod, dual],
      });
    assert.equal(to("fd00:1::40"), "waypoint fd00:1::40 15008");
    assert.equal(to("fd00:96::9"), "waypoint fd00:1::40 15008");
    assert.equal(to("10.96.0.9"), "waypoint 10.1.0.40 15008");
  });

  test("F-040 F-037 do not get their own traffic back by way of another one of the weighted", () => {
    const other = service("shop/canary", "10.96.0.10", [port(15_008, 15_008)]);
    const otherPod = pod("shop/canary-1", "10.1.0.42", { services: backs([other, port(15_008, 15_008)]) });
    const weightedWaypoints = [
      { destination: gatewayAt(waypoint), weight: 1 },
      { destination: gatewayAt(other), weight: 1 },
    ];
    const update = {
      services: [{ ...cart, weightedWaypoints }, waypoint, other],
      workloads: [cartPod, waypointPod, otherPod],
    };
    for (let seed = 0; seed < 20; seed++) {
      const random = seededRandom(seed);
      assert.equal(through(update, { source: waypointPod, random }), "workload 10.1.0.5 15008");
    }
  });
});

describe("waypoints of service accounts", () => {
  const marked = { ...cartPod, waypoint: gatewayAt(waypoint), waypointScope: "service-account" } as const;
  const shape = (update: MeshUpdate, more: Partial<OutboundFacts> = {}, target = atCart): unknown => {
    const decision = decide(update, target, more);
    if (decision.kind === "refuse") return decision.reason;
    return decision.kind === "hbone" ? [decision.via, text(decision.tunnel), decision.authority] : decision.kind;
  };

  test("take what is addressed to a service without a waypoint, with the service's own address", () => {
    const update = { services: [cart, waypoint], workloads: [marked, waypointPod] };
    assert.deepEqual(shape(update), ["waypoint", "10.1.0.40 15008", "10.96.0.1:80"]);
    const decision = decide(update, atCart);
    assert.ok(decision.kind === "hbone" && decision.service?.key === cart.key);
    assert.deepEqual(decision.trace[3], { code: "waypoint-of-account", service: cart.key, workload: marked.uid });
  });

  test("take what is addressed to their pods", () => {
    const update = { services: [cart, waypoint], workloads: [marked, waypointPod] };
    const byPod = shape(update, {}, { address: "10.1.0.5", port: 8080 });
    assert.deepEqual(byPod, ["waypoint", "10.1.0.40 15008", "10.1.0.5:8080"]);
  });

  test("leave other accounts' endpoints of the same service alone", () => {
    const other = pod("shop/other", "10.1.0.6", { services: backs([cart, port(80, 8080)]) });
    const update = { services: [cart, waypoint], workloads: [marked, other, waypointPod] };
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) seen.add(JSON.stringify(shape(update, { random: seededRandom(seed) })));
    assert.deepEqual([...seen].sort(), [
      '["waypoint","10.1.0.40 15008","10.96.0.1:80"]',
      '["workload","10.1.0.6 15008","10.1.0.6:8080"]',
    ]);
  });

  test("leave a service to the waypoint it has itself", () => {
    const own = service("shop/own", "10.96.0.11", [port(15_008, 15_008)]);
    const ownPod = pod("shop/own-1", "10.1.0.50", { services: backs([own, port(15_008, 15_008)]) });
    const update = {
      services: [{ ...cart, waypoint: gatewayAt(own) }, own, waypoint],
      workloads: [marked, ownPod, waypointPod],
    };
    assert.deepEqual(shape(update), ["waypoint", "10.1.0.50 15008", "10.96.0.1:80"]);
    // Past its own waypoint a connection is not sent through the account's as well.
    assert.deepEqual(shape(update, { source: ownPod }), ["workload", "10.1.0.5 15008", "10.1.0.5:8080"]);
  });

  test("F-041 are never bypassed: unknown or not ready, they refuse", () => {
    assert.equal(shape({ services: [cart], workloads: [marked] }), "UNKNOWN_WAYPOINT");
    assert.equal(shape({ services: [cart, waypoint], workloads: [marked] }), "NO_HEALTHY_WAYPOINT");
  });

  test("F-040 do not get their own traffic back", () => {
    const update = { services: [cart, waypoint], workloads: [marked, waypointPod] };
    assert.deepEqual(shape(update, { source: waypointPod }), ["workload", "10.1.0.5 15008", "10.1.0.5:8080"]);
  });

  test("F-044 on another network are reached through its gateway, by the service's name", () => {
    const gateway = pod("istio-system/east-west", "203.0.113.7", { network: "west" });
    const networkGateway = {
      destination: { kind: "address", network: "west", address: "203.0.113.7" },
      port: 15_008,
    } as const;
    const named = { ...waypoint, subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/waypoint"] };
    const remote = { ...waypointPod, addresses: [], network: "west", networkGateway };
    const decision = decide({ services: [cart, named], workloads: [marked, remote, gateway] }, atCart);
    assert.ok(decision.kind === "double-hbone", decision.kind);
    assert.equal(decision.via, "waypoint");
    assert.equal(decision.authority, "cart.shop.svc.cluster.local:80");
  });
});

function text({ address, port }: Endpoint): string {
  return `${address} ${port}`;
}
