import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backs, cidr, gatewayAt, pod, port, service } from "../../test/support/mesh.ts";
import type { Endpoint } from "../base/ip.ts";
import { seededRandom } from "../base/random.ts";
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
const cartId = "spiffe://cluster.local/ns/shop/sa/cart";
const waypointId = "spiffe://cluster.local/ns/shop/sa/waypoint";
const eastWestPod = pod("istio-system/east-west", "203.0.113.7", { network: "west" });
const eastWest = {
  destination: { kind: "address", network: "west", address: "203.0.113.7" },
  port: 15_008,
} as const;
const atCart: Endpoint = { address: "10.96.0.1", port: 80 };

function decide(update: MeshUpdate, target: Endpoint, more: Partial<OutboundFacts> = {}): OutboundDecision {
  const state = new MeshState();
  state.apply(update);
  return decideOutbound(state, { source: client, target, network: "", random: seededRandom(1), ...more });
}

/** The decision in the words of agent-wire 1.7's summary table. */
function summary(decision: OutboundDecision): Record<string, unknown> {
  switch (decision.kind) {
    case "passthrough":
      return { authority: undefined, to: text(decision.target), identities: undefined };
    case "direct":
      return { authority: undefined, to: text(decision.target), identities: undefined };
    case "hbone":
      return { authority: decision.authority, to: text(decision.tunnel), identities: decision.identities };
    case "double-hbone": {
      const { authority, tunnel, identities, innerIdentities: inner } = decision;
      return { authority, to: text(tunnel), identities, inner };
    }
    case "refuse":
      return { refused: decision.reason };
  }
}

function text({ address, port }: Endpoint): string {
  return `${address} ${port}`;
}

describe("the summary table of outbound routing", () => {
  const withWaypoint = { ...cart, waypoint: gatewayAt(waypoint) };
  const rows: [string, MeshUpdate, Endpoint, Record<string, unknown>][] = [
    [
      "F-030 an unknown address is passed through",
      { services: [cart], workloads: [cartPod] },
      { address: "192.0.2.1", port: 443 },
      { authority: undefined, to: "192.0.2.1 443", identities: undefined },
    ],
    [
      "F-034 a PASSTHROUGH service without a waypoint keeps its destination",
      {
        services: [{ ...cart, loadBalancing: { mode: "passthrough", preferences: [], allowUnhealthy: false } }],
        workloads: [cartPod],
      },
      atCart,
      { authority: undefined, to: "10.96.0.1 80", identities: undefined },
    ],
    [
      "F-031 a known workload without HBONE is reached as it is",
      { workloads: [{ ...cartPod, tunnel: "tcp" }] },
      { address: "10.1.0.5", port: 9090 },
      { authority: undefined, to: "10.1.0.5 9090", identities: undefined },
    ],
    [
      "F-032 a service endpoint without HBONE is reached as it is, on the target port",
      { services: [cart], workloads: [{ ...cartPod, tunnel: "tcp" }] },
      atCart,
      { authority: undefined, to: "10.1.0.5 8080", identities: undefined },
    ],
    [
      "F-031 a known workload with HBONE is reached by a tunnel to 15008",
      { services: [{ ...cart, subjectAltNames: ["spiffe://cluster.local/ns/a/sa/b"] }], workloads: [cartPod] },
      { address: "10.1.0.5", port: 9090 },
      { authority: "10.1.0.5:9090", to: "10.1.0.5 15008", identities: [cartId] },
    ],
    [
      "F-032 F-057 a service endpoint with HBONE accepts the service's SPIFFE names too",
      {
        services: [{ ...cart, subjectAltNames: ["cart.example", "spiffe://cluster.local/ns/a/sa/b"] }],
        workloads: [cartPod],
      },
      atCart,
      { authority: "10.1.0.5:8080", to: "10.1.0.5 15008", identities: [cartId, "spiffe://cluster.local/ns/a/sa/b"] },
    ],
    [
      "F-036 a service with a waypoint is reached through it, by its own address and port",
      {
        services: [withWaypoint, { ...waypoint, subjectAltNames: ["spiffe://cluster.local/ns/w/sa/w"] }],
        workloads: [cartPod, waypointPod],
      },
      atCart,
      {
        authority: "10.96.0.1:80",
        to: "10.1.0.40 15008",
        identities: [waypointId, "spiffe://cluster.local/ns/w/sa/w"],
      },
    ],
    [
      "F-038 a pod address whose workload has a waypoint is reached through it",
      { services: [cart, waypoint], workloads: [{ ...cartPod, waypoint: gatewayAt(waypoint) }, waypointPod] },
      { address: "10.1.0.5", port: 8080 },
      { authority: "10.1.0.5:8080", to: "10.1.0.40 15008", identities: [waypointId] },
    ],
    [
      "F-042 a service endpoint on another network is reached through its gateway, by the service's name",
      {
        services: [{ ...cart, subjectAltNames: ["spiffe://west/ns/shop/sa/cart"] }],
        workloads: [{ ...cartPod, addresses: [], network: "west", networkGateway: eastWest }, eastWestPod],
      },
      atCart,
      {
        authority: "cart.shop.svc.cluster.local:80",
        to: "203.0.113.7 15008",
        identities: ["spiffe://cluster.local/ns/istio-system/sa/east-west"],
        inner: ["spiffe://west/ns/shop/sa/cart"],
      },
    ],
  ];
  for (const [name, update, target, expected] of rows) {
    test(name, () => assert.deepEqual(summary(decide(update, target)), expected));
  }

  test("F-031 F-032 IPv6 authorities are bracketed", () => {
    const six = { ...cart, vips: [{ network: "", address: "fd00:96::1" }] };
    const decision = decide(
      { services: [six], workloads: [{ ...cartPod, addresses: ["fd00:1::5"] }] },
      { address: "fd00:96::1", port: 80 },
    );
    assert.deepEqual(summary(decision), { authority: "[fd00:1::5]:8080", to: "fd00:1::5 15008", identities: [cartId] });
  });
});

describe("failing closed", () => {
  const rows: [string, MeshUpdate, Endpoint, string][] = [
    ["F-035 a service without endpoints refuses", { services: [cart] }, atCart, "NO_HEALTHY_UPSTREAM"],
    [
      "F-035 a service whose endpoints are unhealthy refuses",
      { services: [cart], workloads: [{ ...cartPod, healthy: false }] },
      atCart,
      "NO_HEALTHY_UPSTREAM",
    ],
    [
      "F-035 an undeclared service port refuses",
      { services: [cart], workloads: [cartPod] },
      { ...atCart, port: 81 },
      "NO_SERVICE_PORT",
    ],
    [
      "F-041 a waypoint that cannot be resolved refuses",
      { services: [{ ...cart, waypoint: gatewayAt(waypoint) }], workloads: [cartPod] },
      atCart,
      "UNKNOWN_WAYPOINT",
    ],
    [
      "F-041 a waypoint without a ready pod refuses",
      { services: [{ ...cart, waypoint: gatewayAt(waypoint) }, waypoint], workloads: [cartPod] },
      atCart,
      "NO_HEALTHY_WAYPOINT",
    ],
    [
      "F-041 a workload's unresolvable waypoint refuses",
      { workloads: [{ ...cartPod, waypoint: gatewayAt(waypoint) }] },
      { address: "10.1.0.5", port: 1 },
      "UNKNOWN_WAYPOINT",
    ],
    [
      "F-042 another network without a gateway refuses",
      { services: [cart], workloads: [{ ...cartPod, network: "west" }] },
      atCart,
      "NO_NETWORK_GATEWAY",
    ],
    [
      "F-044 a waypoint on another network without a gateway refuses",
      {
        services: [{ ...cart, waypoint: gatewayAt(waypoint) }, waypoint],
        workloads: [cartPod, { ...waypointPod, network: "west" }],
      },
      atCart,
      "NO_NETWORK_GATEWAY",
    ],
    [
      "F-047 an endpoint without an address of an allowed family refuses",
      { services: [{ ...cart, ipFamilies: "ipv6" }], workloads: [cartPod] },
      atCart,
      "NO_USABLE_ADDRESS",
    ],
    [
      "F-046 an unresolved hostname refuses",
      { services: [cart], workloads: [{ ...cartPod, addresses: [], hostname: "db.example" }] },
      atCart,
      "HOSTNAME_UNRESOLVED",
    ],
    ["the agent's own port on loopback refuses", {}, { address: "127.0.0.1", port: 15_001 }, "RECURSIVE_CALL"],
    ["the agent's own port on IPv6 loopback refuses", {}, { address: "::1", port: 15_008 }, "RECURSIVE_CALL"],
  ];
  for (const [name, update, target, reason] of rows) {
    test(name, () => {
      const decision = decide(update, target);
      assert.deepEqual(summary(decision), { refused: reason });
      assert.deepEqual(decision.trace.at(-1), { code: "refused", reason });
    });
  }

  test("F-045 a pod of another network is not reached by its address", () => {
    const state = new MeshState();
    const remote = { ...cartPod, network: "west" };
    state.apply({ workloads: [remote] });
    const target = { address: "10.1.0.5", port: 80 };
    const decision = decideOutbound(state, { source: client, target, network: "west", random: seededRandom(1) });
    assert.deepEqual(summary(decision), { refused: "CROSS_NETWORK_ADDRESS" });
  });

  test("F-035 all endpoints set aside by the caller refuse", () => {
    const decision = decide({ services: [cart], workloads: [cartPod] }, atCart, { exclude: new Set([cartPod.uid]) });
    assert.deepEqual(summary(decision), { refused: "NO_HEALTHY_UPSTREAM" });
  });
});

describe("prefixes around addresses", () => {
  const around = service("shop/around", "", [port(80, 8080)], { cidrVips: [{ network: "", ...cidr("10.1.0.0/16") }] });

  test("F-033 a service may be addressed anywhere in its prefix", () => {
    const endpoint = { ...cartPod, services: backs([around, port(80, 8080)]) };
    const decision = decide({ services: [around], workloads: [endpoint] }, { address: "10.1.77.1", port: 80 });
    assert.deepEqual(summary(decision), { authority: "10.1.0.5:8080", to: "10.1.0.5 15008", identities: [cartId] });
  });

  test("F-033 B9 a pod address inside one skips the service's waypoint but is balanced by the service", () => {
    const other = pod("shop/other", "10.2.0.7", { services: backs([around, port(80, 8080)]) });
    const update = {
      services: [{ ...around, waypoint: gatewayAt(waypoint) }, waypoint],
      workloads: [cartPod, other, waypointPod],
    };
    const decision = decide(update, { address: "10.1.0.5", port: 80 });
    assert.equal(decision.kind === "hbone" && decision.workload.name, "other");
  });

  test("F-035 a pod address inside one without endpoints refuses instead of going on in clear text", () => {
    const decision = decide({ services: [around], workloads: [cartPod] }, { address: "10.1.0.5", port: 80 });
    assert.deepEqual(summary(decision), { refused: "NO_HEALTHY_UPSTREAM" });
  });

  test("F-034 a pod address inside a PASSTHROUGH one keeps its destination and its encryption", () => {
    const passthrough = {
      ...around,
      loadBalancing: { mode: "passthrough", preferences: [], allowUnhealthy: false } as const,
    };
    const decision = decide({ services: [passthrough], workloads: [cartPod] }, { address: "10.1.0.5", port: 4321 });
    assert.deepEqual(summary(decision), { authority: "10.1.0.5:4321", to: "10.1.0.5 15008", identities: [cartId] });
  });
});

describe("prefixes around pods of waypoints and other networks", () => {
  const around = service("shop/around", "", [port(80, 8080)], { cidrVips: [{ network: "", ...cidr("10.1.0.0/16") }] });
  const behind = { ...cartPod, services: backs([around, port(80, 8080)]), waypoint: gatewayAt(waypoint) };

  test("F-038 B9 a pod address inside one still goes through the waypoint of the pod that takes it", () => {
    const decision = decide(
      { services: [around, waypoint], workloads: [behind, waypointPod] },
      { address: "10.1.0.5", port: 80 },
    );
    assert.deepEqual(summary(decision), {
      authority: "10.1.0.5:80",
      to: "10.1.0.40 15008",
      identities: [waypointId],
    });
  });

  test("F-045 B9 a pod address inside one does not cross networks", () => {
    const remote = pod("shop/remote", "10.9.0.1", {
      network: "west",
      networkGateway: eastWest,
      services: backs([around, port(80, 8080)]),
    });
    const decision = decide(
      { services: [around], workloads: [cartPod, remote, eastWestPod] },
      { address: "10.1.0.5", port: 80 },
    );
    assert.deepEqual(summary(decision), { refused: "CROSS_NETWORK_ADDRESS" });
  });
});

describe("addresses of the chosen endpoint", () => {
  const dual = { ...cartPod, addresses: ["10.1.0.5", "fd00:1::5"] };
  const dualCart = { ...cart, vips: [...cart.vips, { network: "", address: "fd00:96::1" }] };
  const reached = (families: MeshService["ipFamilies"], vip: string): string => {
    const decision = decide(
      { services: [{ ...dualCart, ipFamilies: families }], workloads: [dual] },
      { address: vip, port: 80 },
    );
    return decision.kind === "hbone" ? decision.tunnel.address : decision.kind;
  };

  test("F-047 are of the target's family where the service allows both", () => {
    for (const families of ["automatic", "dual"] as const) {
      assert.equal(reached(families, "10.96.0.1"), "10.1.0.5");
      assert.equal(reached(families, "fd00:96::1"), "fd00:1::5");
    }
  });

  test("F-047 are the target's own where it is one of them", () => {
    const many = { ...cartPod, addresses: ["10.1.0.4", "10.1.0.5"] };
    const decision = decide({ workloads: [many] }, { address: "10.1.0.5", port: 80 });
    assert.equal(decision.kind === "hbone" && decision.authority, "10.1.0.5:80");
  });

  test("F-047 are of the only family that the service allows", () => {
    assert.equal(reached("ipv6", "10.96.0.1"), "fd00:1::5");
    assert.equal(reached("ipv4", "fd00:96::1"), "10.1.0.5");
  });

  test("F-046 come from the hostname where there are none, the target's family first", () => {
    const named = { ...cartPod, tunnel: "tcp", addresses: [], hostname: "db.example" } as const;
    const decision = decide({ services: [cart], workloads: [named] }, atCart, {
      resolved: () => ["2001:db8:0:0::1", "192.0.2.7"],
    });
    assert.deepEqual(summary(decision), { authority: undefined, to: "192.0.2.7 8080", identities: undefined });
    const asked = decide({ services: [cart], workloads: [named] }, atCart);
    assert.deepEqual(asked.kind === "refuse" && [asked.hostname, asked.endpoint], ["db.example", named.uid]);
  });

  test("F-046 come from the hostname by chance among those of one family", () => {
    const named = { ...cartPod, tunnel: "tcp", addresses: [], hostname: "db.example" } as const;
    const answers = ["192.0.2.7", "2001:db8::1", "192.0.2.8"];
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const more = { resolved: () => answers, random: seededRandom(seed) };
      const decision = decide({ services: [cart], workloads: [named] }, atCart, more);
      seen.add(decision.kind === "direct" ? decision.target.address : decision.kind);
    }
    assert.deepEqual([...seen].sort(), ["192.0.2.7", "192.0.2.8"]);
  });

  test("F-046 do not come from the hostname where a pod has addresses of its own", () => {
    const both = { ...cartPod, hostname: "cart-1.example" };
    const decision = decide({ services: [cart], workloads: [both] }, atCart, { resolved: () => ["192.0.2.7"] });
    assert.equal(decision.kind === "hbone" && decision.tunnel.address, "10.1.0.5");
  });

  test("F-055 of a host-network workload do not lead to it, but its service does", () => {
    const host = { ...cartPod, tunnel: "tcp", hostNetwork: true } as const;
    const update = { services: [cart], workloads: [host] };
    assert.equal(decide(update, { address: "10.1.0.5", port: 8080 }).kind, "passthrough");
    assert.equal(decide(update, atCart).kind, "direct");
  });
});

test("a decision tells each step that led to it", () => {
  const decision = decide({ services: [cart], workloads: [cartPod] }, atCart);
  assert.deepEqual(decision.trace, [
    { code: "target-is-service", service: cart.key, by: "vip" },
    { code: "endpoints-considered", service: cart.key, known: 1, healthy: 1, usable: 1, nearest: 1 },
    { code: "endpoint-chosen", service: cart.key, workload: cartPod.uid, port: 8080 },
    { code: "address-chosen", workload: cartPod.uid, address: "10.1.0.5" },
  ]);
  assert.deepEqual(structuredClone(decision), decision, "plain data: it crosses threads");
});
