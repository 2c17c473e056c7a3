import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backs, gatewayAt, pod, policy, port, service } from "../../test/support/mesh.ts";
import type { Identity } from "../protocol/spiffe/identity.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { admit, type Admission } from "./admit.ts";
import { MeshState, type MeshUpdate } from "./mesh-state.ts";

const waypoint = service("shop/waypoint", "10.96.0.9", [port(15_008, 15_008)]);
const canary = service("shop/canary", "10.96.0.10", [port(15_008, 15_008)]);
const waypointPod = pod("shop/waypoint", "10.1.0.40", { services: backs([waypoint]) });
const canaryPod = pod("shop/canary", "10.1.0.41", { services: backs([canary]) });
/** Runs as the waypoint does, and is none. */
const impostor = pod("shop/impostor", "10.1.0.50", { serviceAccount: "waypoint" });
const client = pod("shop/client", "10.1.0.1");
const web = service("shop/web", "10.96.0.1", [port(80, 8080)]);
const metrics = service("shop/metrics", "10.96.0.2", [port(9090, 9090)]);

const inMesh = (workload: MeshWorkload, address = workload.addresses[0]): Peer => ({ identity: workload, address });
const outside = (address = "10.9.0.1"): Peer => ({ identity: undefined, address });

interface Peer {
  readonly identity: Identity | undefined;
  readonly address: string | undefined;
}

function ask(
  server: Partial<MeshWorkload>,
  services: MeshService[],
  peer: Peer,
  { requireWaypoint, port = 8080, ...update }: { requireWaypoint?: boolean; port?: number } & MeshUpdate = {},
): Admission {
  const state = new MeshState();
  const local = pod("shop/server", "10.1.0.5", server);
  state.apply({
    workloads: [client, waypointPod, canaryPod, impostor, local],
    services: [waypoint, canary, web, metrics, ...services],
    ...update,
  });
  return admit(state, {
    local,
    ...(peer.identity && { peerIdentity: peer.identity }),
    peerAddress: peer.address ?? "",
    destination: { address: "10.1.0.5", port },
    ...(requireWaypoint !== undefined && { requireWaypoint }),
  });
}

const say = (admission: Admission): string => (admission.allowed ? "in" : admission.reason);

describe("pod-addressed connections", () => {
  const own = { waypoint: gatewayAt(waypoint) };
  const byAddress = { destination: { kind: "address", network: "", address: "10.96.0.9" }, port: 15_008 } as const;
  const byPod = { destination: { kind: "address", network: "", address: "10.1.0.40" }, port: 15_008 } as const;
  const rows: [string, Partial<MeshWorkload>, Peer, string][] = [
    ["a pod without a waypoint takes whoever comes", {}, inMesh(client), "in"],
    ["a pod without a waypoint takes plaintext", {}, outside(), "in"],
    ["a pod with a waypoint takes its waypoint", own, inMesh(waypointPod), "in"],
    [
      "a pod with a waypoint named by the service's address takes it",
      { waypoint: byAddress },
      inMesh(waypointPod),
      "in",
    ],
    ["a pod with a waypoint named by the pod's address takes it", { waypoint: byPod }, inMesh(waypointPod), "in"],
    ["a pod with a waypoint does not take a client of the mesh", own, inMesh(client), "WAYPOINT_REQUIRED"],
    ["a pod with a waypoint does not take plaintext", own, outside(), "WAYPOINT_REQUIRED"],
    ["plaintext from the waypoint's own address is nobody's", own, outside("10.1.0.40"), "WAYPOINT_REQUIRED"],
    ["another waypoint of the mesh is not the pod's", own, inMesh(canaryPod), "WAYPOINT_REQUIRED"],
    ["who runs as the waypoint does and is another pod is not it", own, inMesh(impostor), "WAYPOINT_REQUIRED"],
    ["a client at the waypoint's address is not it", own, inMesh(client, "10.1.0.40"), "WAYPOINT_REQUIRED"],
    [
      "a waypoint's pod that control has not told of yet is known by its identity",
      own,
      inMesh(waypointPod, "10.1.0.77"),
      "in",
    ],
    [
      "a client that control has not told of yet is not the waypoint",
      own,
      inMesh(client, "10.1.0.77"),
      "WAYPOINT_REQUIRED",
    ],
    [
      "the waypoint's name in another trust domain is not it",
      own,
      { identity: { trustDomain: "elsewhere", namespace: "shop", serviceAccount: "waypoint" }, address: "10.1.0.77" },
      "WAYPOINT_REQUIRED",
    ],
    ["a pod calls itself", own, { identity: pod("shop/server", ""), address: "10.1.0.5" }, "in"],
    ["a pod calls itself in plaintext", own, outside("10.1.0.5"), "in"],
    ["nobody else calls in the pod's name", own, inMesh(client, "10.1.0.5"), "WAYPOINT_REQUIRED"],
    [
      "a waypoint that nobody can resolve is nobody",
      { waypoint: { destination: { kind: "hostname", namespace: "shop", hostname: "gone" }, port: 15_008 } },
      inMesh(waypointPod),
      "WAYPOINT_REQUIRED",
    ],
    ["a waypoint's pod is not behind itself", { ...own, services: backs([waypoint]) }, inMesh(client), "in"],
  ];
  for (const [name, server, peer, expected] of rows) {
    test(`M02 ${name}`, () => assert.equal(say(ask(server, [], peer)), expected));
    test(`M02 with the requirement lifted: ${name}, or it is passed by`, () => {
      assert.equal(say(ask(server, [], peer, { requireWaypoint: false })), "in");
    });
  }

  test("M02 a waypoint that is not ready any more still ends what it has", () => {
    const draining = { ...waypointPod, healthy: false };
    const workloads = [client, draining, pod("shop/server", "10.1.0.5", own)];
    assert.equal(say(ask(own, [], inMesh(draining), { workloads })), "in");
    assert.equal(say(ask(own, [], inMesh(draining, "10.1.0.77"), { workloads })), "in");
  });

  test("M02 the refusal names the waypoint, and tells it only to whom policies let in", () => {
    const refusal = ask(own, [], inMesh(client));
    assert.equal(!refusal.allowed && refusal.waypoint, "shop/waypoint.shop.svc.cluster.local:15008");
    assert.deepEqual(refusal.trace.at(-1), {
      code: "waypoint-missed",
      of: "Kubernetes//Pod/shop/server",
      waypoint: "shop/waypoint.shop.svc.cluster.local:15008",
    });
    const policies = [policy("shop/nobody", {})];
    assert.equal(say(ask(own, [], inMesh(client), { policies })), "POLICY_NOT_ALLOWED");
  });
});

describe("service-addressed connections", () => {
  const bound = { ...web, waypoint: gatewayAt(waypoint) };
  const asking = { ...bound, waypointRequired: true } as const;
  const weighted = {
    ...web,
    waypointRequired: true,
    weightedWaypoints: [
      { destination: gatewayAt(waypoint), weight: 90 },
      { destination: gatewayAt(canary), weight: 10 },
    ],
  } as const;
  const backing = { services: backs([web, port(80, 8080)], [metrics, port(9090, 9090)]) };
  const rows: [string, MeshService, Peer, number, string][] = [
    ["a service's waypoint may be passed by unless the service asks for it", bound, inMesh(client), 8080, "in"],
    ["a service's waypoint may be passed by in plaintext unless the service asks for it", bound, outside(), 8080, "in"],
    ["a service that asks takes its waypoint", asking, inMesh(waypointPod), 8080, "in"],
    ["a service that asks does not take a client of the mesh", asking, inMesh(client), 8080, "WAYPOINT_REQUIRED"],
    ["a service that asks does not take plaintext", asking, outside(), 8080, "WAYPOINT_REQUIRED"],
    [
      "a service that asks does not take who merely runs as the waypoint does",
      asking,
      inMesh(impostor),
      8080,
      "WAYPOINT_REQUIRED",
    ],
    ["a service that asks speaks for its own ports only", asking, inMesh(client), 9090, "in"],
    ["a service that asks takes each of its weighted waypoints", weighted, inMesh(waypointPod), 8080, "in"],
    ["a service that asks takes the lightest of its weighted waypoints", weighted, inMesh(canaryPod), 8080, "in"],
    ["a service with weighted waypoints does not take a client", weighted, inMesh(client), 8080, "WAYPOINT_REQUIRED"],
    [
      "a service that asks for a waypoint and has none is closed",
      { ...web, waypointRequired: true },
      inMesh(client),
      8080,
      "WAYPOINT_REQUIRED",
    ],
  ];
  for (const [name, asked, peer, port, expected] of rows) {
    test(`M01 ${name}`, () => assert.equal(say(ask(backing, [asked], peer, { port })), expected));
    test(`M01 with the requirement lifted: ${name}, or it is passed by`, () => {
      assert.equal(say(ask(backing, [asked], peer, { port, requireWaypoint: false })), "in");
    });
  }

  test("M01 named ports are those that the pod itself maps", () => {
    const named = { ...asking, ports: [port(80, 0)] };
    const server = { services: backs([web, port(80, 7000)]) };
    assert.equal(say(ask(server, [named], inMesh(client), { port: 7000 })), "WAYPOINT_REQUIRED");
    assert.equal(say(ask(server, [named], inMesh(client), { port: 8080 })), "in");
  });

  test("M01 a pod with a waypoint of its own takes the one of a service it backs as well", () => {
    const server = { ...backing, waypoint: gatewayAt(canary) };
    assert.equal(say(ask(server, [bound], inMesh(waypointPod))), "in");
    assert.equal(say(ask(server, [bound], inMesh(canaryPod))), "in");
    assert.equal(say(ask(server, [bound], inMesh(client))), "WAYPOINT_REQUIRED");
  });

  test("M01 a service without a waypoint that leads to a pod with one of its own goes past it, and is refused", () => {
    const server = { ...backing, waypoint: gatewayAt(waypoint) };
    assert.equal(say(ask(server, [web], inMesh(client))), "WAYPOINT_REQUIRED");
    assert.equal(say(ask(server, [web], inMesh(client), { requireWaypoint: false })), "in");
  });
});

describe("who is judged again", () => {
  const server = pod("shop/server", "10.1.0.5", { services: backs([web, port(80, 8080)]) });
  const other = pod("shop/other", "10.1.0.6");
  const bound = { ...web, waypoint: gatewayAt(waypoint) };
  const judgedAfter = (update: MeshUpdate, before: MeshUpdate = {}): string[] => {
    const state = new MeshState();
    state.apply({ workloads: [server, other], services: [waypoint, bound], ...before });
    const { authorization } = state.apply(update);
    assert.equal(authorization.everyone, false);
    assert.equal(authorization.namespaces.size, 0);
    return [...authorization.workloads];
  };

  test("M02 connections of a workload that gets a waypoint, another one, or none", () => {
    const withOne = { ...server, waypoint: gatewayAt(waypoint) };
    assert.deepEqual(judgedAfter({ workloads: [withOne] }), [server.uid]);
    assert.deepEqual(judgedAfter({ workloads: [server] }, { workloads: [withOne, other] }), [server.uid]);
    assert.deepEqual(
      judgedAfter({ workloads: [{ ...server, waypoint: gatewayAt(canary) }] }, { workloads: [withOne, other] }),
      [server.uid],
    );
    assert.deepEqual(judgedAfter({ workloads: [{ ...withOne }] }, { workloads: [withOne, other] }), []);
  });

  test("M01 connections to the endpoints of a service that begins to ask, ends, or asks for somebody else", () => {
    const asking = { ...bound, waypointRequired: true } as const;
    const services = [waypoint, asking];
    assert.deepEqual(judgedAfter({ services: [asking] }), [server.uid]);
    assert.deepEqual(judgedAfter({ services: [bound] }, { services }), [server.uid]);
    assert.deepEqual(judgedAfter({ services: [{ ...asking, waypoint: gatewayAt(canary) }] }, { services }), [
      server.uid,
    ]);
    assert.deepEqual(judgedAfter({ removed: { addresses: [web.key] } }, { services }), [server.uid]);
    assert.deepEqual(judgedAfter({ services: [{ ...asking }] }, { services }), []);
    assert.deepEqual(judgedAfter({ services: [{ ...bound, waypoint: gatewayAt(canary) }] }), [], "nobody asks");
  });

  test("M01 connections of a workload that comes to back a service, or backs it on another port", () => {
    assert.deepEqual(judgedAfter({ workloads: [{ ...other, services: backs([web, port(80, 8080)]) }] }), [other.uid]);
    assert.deepEqual(judgedAfter({ workloads: [{ ...server, services: backs([web, port(80, 8081)]) }] }), [server.uid]);
    assert.deepEqual(judgedAfter({ workloads: [{ ...server, services: backs([web, port(80, 8080)]) }] }), []);
  });
});
