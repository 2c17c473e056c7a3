import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backs, gatewayAt, pod, port, service } from "../../test/support/mesh.ts";
import type { Endpoint } from "../base/ip.ts";
import { seededRandom } from "../base/random.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import { MeshState, type MeshUpdate } from "./mesh-state.ts";
import { decideOutbound, type DoubleHboneRoute, type OutboundDecision, type OutboundFacts } from "./route.ts";

const client = pod("shop/client", "10.1.0.1", { network: "east" });
const cartName = "spiffe://west.example/ns/shop/sa/cart";
const cart = service("shop/cart", "", [port(80, 8080)], {
  vips: [{ network: "east", address: "10.96.0.1" }],
  subjectAltNames: ["cart.example", cartName],
});
/** As control coalesces the endpoints of another network: no address, but a way there. */
const remote = pod("shop/cart-west", "", {
  network: "west",
  networkGateway: byAddress("203.0.113.7"),
  services: backs([cart, port(80, 8080)]),
});
const gatewayPod = pod("istio-system/east-west", "203.0.113.7", { network: "west", serviceAccount: "east-west" });
const gatewayId = "spiffe://cluster.local/ns/istio-system/sa/east-west";
const atCart: Endpoint = { address: "10.96.0.1", port: 80 };

describe("a service whose endpoint is on another network", () => {
  test("F-042 is reached by a tunnel inside a tunnel, both for the service's name and port", () => {
    const route = routed({ services: [cart], workloads: [remote, gatewayPod] });
    const { authority, tunnel, identities, innerIdentities, network, via, service: addressed, workload } = route;
    assert.equal(authority, "cart.shop.svc.cluster.local:80");
    assert.deepEqual(tunnel, { address: "203.0.113.7", port: 15_008 });
    assert.deepEqual(identities, [gatewayId], "the outer tunnel's peer is the gateway");
    assert.deepEqual(innerIdentities, [cartName], "the inner one's is whom the service names, and nobody else");
    assert.deepEqual([network, via, addressed.key, workload.uid], ["west", "workload", cart.key, remote.uid]);
    assert.equal(route.gateway.reference, "west/203.0.113.7:15008");
  });

  test("F-042 B11 refuses where the service names nobody whom the inner tunnel could believe", () => {
    for (const subjectAltNames of [[], ["cart.example"]]) {
      const decision = decide({ services: [{ ...cart, subjectAltNames }], workloads: [remote, gatewayPod] });
      assert.equal(reasonOf(decision), "NO_REMOTE_IDENTITY");
      assert.equal(decision.kind === "refuse" && decision.endpoint, remote.uid, "another endpoint may do better");
      assert.ok(decision.trace.some((step) => step.code === "remote-identity-missing" && step.service === cart.key));
    }
  });

  test("F-042 is never reached by a raw address of that network", () => {
    const addressed = { ...remote, addresses: ["10.1.0.9"] };
    const { networkGateway: _, ...stranded } = addressed;
    assert.equal(routed({ services: [cart], workloads: [addressed, gatewayPod] }).tunnel.address, "203.0.113.7");
    assert.equal(reasonOf(decide({ services: [cart], workloads: [stranded] })), "NO_NETWORK_GATEWAY");
  });

  test("F-042 refuses while the gateway that is named is not known", () => {
    const decision = decide({ services: [cart], workloads: [remote] });
    assert.equal(reasonOf(decision), "NO_NETWORK_GATEWAY");
    assert.deepEqual(decision.trace.at(-2), {
      code: "gateway-unresolved",
      network: "west",
      reference: "west/203.0.113.7:15008",
    });
  });

  test("F-042 leaves the endpoints of this network as they are", () => {
    const local = pod("shop/cart-east", "10.1.0.5", { network: "east", services: backs([cart, port(80, 8080)]) });
    const decision = decide({ services: [cart], workloads: [local, gatewayPod] });
    assert.equal(decision.kind === "hbone" && decision.authority, "10.1.0.5:8080");
  });

  test("F-042 F-053 goes there only when this network has no endpoint left", () => {
    const local = pod("shop/cart-east", "10.1.0.5", { network: "east", services: backs([cart, port(80, 8080)]) });
    const loadBalancing = { mode: "failover", preferences: ["network"], allowUnhealthy: false } as const;
    const services = [{ ...cart, loadBalancing }];
    for (let seed = 0; seed < 20; seed++) {
      const random = seededRandom(seed);
      assert.equal(decide({ services, workloads: [local, remote, gatewayPod] }, { random }).kind, "hbone");
    }
    const sick = { ...local, healthy: false };
    assert.equal(decide({ services, workloads: [sick, remote, gatewayPod] }).kind, "double-hbone");
  });

  test("F-045 refuses who addresses that endpoint itself", () => {
    const state = new MeshState();
    state.apply({ services: [cart], workloads: [{ ...remote, addresses: ["10.1.0.9"] }, gatewayPod] });
    const target = { address: "10.1.0.9", port: 8080 };
    // Only an agent that takes the other network's addresses for its own could mean it.
    const decision = decideOutbound(state, { source: client, target, network: "west", random: seededRandom(1) });
    assert.equal(reasonOf(decision), "CROSS_NETWORK_ADDRESS");
  });
});

describe("a network gateway", () => {
  const through = (reference: GatewayRef, more: MeshUpdate): DoubleHboneRoute =>
    routed({ services: [cart, ...(more.services ?? [])], workloads: [via(reference), ...(more.workloads ?? [])] });
  const behindService = service("istio-system/ew", "", [port(15_008, 16_008)], {
    vips: [{ network: "east", address: "10.96.0.77" }],
    subjectAltNames: ["spiffe://cluster.local/ns/istio-system/sa/ew-alias"],
  });
  const member = pod("istio-system/ew-1", "10.1.0.70", {
    network: "east",
    serviceAccount: "ew",
    services: backs([behindService, port(15_008, 16_008)]),
  });

  test("F-043 may be named by the address of a workload, on a port of its own", () => {
    const route = through(byAddress("203.0.113.7", 15_443), { workloads: [gatewayPod] });
    assert.deepEqual(route.tunnel, { address: "203.0.113.7", port: 15_443 });
  });

  test("F-043 may be named by the hostname of a service: its port is mapped, its names are accepted too", () => {
    const route = through(gatewayAt(behindService), { services: [behindService], workloads: [member] });
    assert.deepEqual(route.tunnel, { address: "10.1.0.70", port: 16_008 });
    assert.deepEqual(route.identities, [
      "spiffe://cluster.local/ns/istio-system/sa/ew",
      "spiffe://cluster.local/ns/istio-system/sa/ew-alias",
    ]);
    assert.equal(route.gateway.service?.key, behindService.key);
  });

  test("F-043 may be named by the address of a service", () => {
    const reference = byAddress("10.96.0.77", 15_008, "east");
    const route = through(reference, { services: [behindService], workloads: [member] });
    assert.deepEqual(route.tunnel, { address: "10.1.0.70", port: 16_008 });
  });

  test("F-043 may be named by the hostname of a workload", () => {
    const named = { ...gatewayPod, hostname: "ew.example" };
    const destination = { kind: "hostname", namespace: "istio-system", hostname: "ew.example" } as const;
    assert.equal(through({ destination, port: 15_008 }, { workloads: [named] }).tunnel.address, "203.0.113.7");
  });

  test("F-043 that has a hostname only needs it resolved", () => {
    const named = { ...gatewayPod, addresses: [], hostname: "ew.example" };
    const destination = { kind: "hostname", namespace: "istio-system", hostname: "ew.example" } as const;
    const update = { services: [cart], workloads: [via({ destination, port: 15_008 }), named] };
    const asked = decide(update);
    assert.ok(asked.kind === "refuse" && asked.reason === "HOSTNAME_UNRESOLVED");
    assert.deepEqual([asked.hostname, asked.endpoint], ["ew.example", named.uid]);
    assert.equal(routed(update, { resolved: () => ["198.51.100.1"] }).tunnel.address, "198.51.100.1");
  });

  test("F-043 is reached by the family it was named by, whatever the client's", () => {
    const dual = { ...gatewayPod, addresses: ["203.0.113.7", "2001:db8::7"] };
    assert.equal(through(byAddress("2001:db8::7"), { workloads: [dual] }).tunnel.address, "2001:db8::7");
    assert.equal(through(byAddress("203.0.113.7"), { workloads: [dual] }).tunnel.address, "203.0.113.7");
  });

  test("F-043 none of whose pods is ready refuses", () => {
    const update = {
      services: [cart, behindService],
      workloads: [via(gatewayAt(behindService)), { ...member, healthy: false }],
    };
    assert.equal(reasonOf(decide(update)), "NO_HEALTHY_GATEWAY");
    const undeclared = { ...update, workloads: [via(gatewayAt(behindService, 15_443)), member] };
    assert.equal(reasonOf(decide(undeclared)), "NO_HEALTHY_GATEWAY");
  });
});

describe("a waypoint on another network", () => {
  const waypointName = "spiffe://west.example/ns/shop/sa/waypoint";
  const waypoint = service("shop/waypoint", "", [port(15_008, 15_008)], { subjectAltNames: [waypointName] });
  const waypointPod = pod("shop/waypoint-west", "", {
    network: "west",
    networkGateway: byAddress("203.0.113.7"),
    services: backs([waypoint, port(15_008, 15_008)]),
  });
  const behind = { ...cart, waypoint: gatewayAt(waypoint) };

  test("F-044 is reached through the gateway for the service that was addressed", () => {
    const route = routed({ services: [behind, waypoint], workloads: [remote, waypointPod, gatewayPod] });
    assert.deepEqual([route.via, route.workload.uid, route.service.key], ["waypoint", waypointPod.uid, cart.key]);
    assert.equal(route.authority, "cart.shop.svc.cluster.local:80");
    assert.deepEqual(route.identities, [gatewayId]);
  });

  test("F-044 is whom the inner tunnel must end at: the service's own endpoints are not believed", () => {
    const route = routed({ services: [behind, waypoint], workloads: [remote, waypointPod, gatewayPod] });
    assert.deepEqual(route.innerIdentities, [waypointName]);
    const nameless = { ...waypoint, subjectAltNames: [] };
    const decision = decide({ services: [behind, nameless], workloads: [remote, waypointPod, gatewayPod] });
    assert.equal(reasonOf(decision), "NO_REMOTE_IDENTITY");
  });

  test("F-045 F-044 is not reached for a pod's own address: no name could go with it", () => {
    const local = pod("shop/local", "10.1.0.8", { network: "east", waypoint: gatewayAt(waypoint) });
    const update = { services: [waypoint], workloads: [local, waypointPod, gatewayPod] };
    const decision = decide(update, {}, { address: "10.1.0.8", port: 80 });
    assert.equal(reasonOf(decision), "CROSS_NETWORK_ADDRESS");
  });
});

function decide(update: MeshUpdate, more: Partial<OutboundFacts> = {}, target = atCart): OutboundDecision {
  const state = new MeshState();
  state.apply(update);
  return decideOutbound(state, { source: client, target, network: "east", random: seededRandom(1), ...more });
}

function routed(update: MeshUpdate, more: Partial<OutboundFacts> = {}): DoubleHboneRoute {
  const decision = decide(update, more);
  assert.ok(decision.kind === "double-hbone", `${decision.kind} ${reasonOf(decision)}`);
  assert.deepEqual(structuredClone(decision), decision, "plain data: it crosses threads");
  return decision;
}

function reasonOf(decision: OutboundDecision): string {
  return decision.kind === "refuse" ? decision.reason : "";
}

function via(networkGateway: GatewayRef): typeof remote {
  return { ...remote, networkGateway };
}

function byAddress(address: string, hbonePort = 15_008, network = "west"): GatewayRef {
  return { destination: { kind: "address", network, address }, port: hbonePort };
}
