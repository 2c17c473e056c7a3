import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backs, cidr, gatewayAt, pod, policy, port, ruleOf, service } from "../../test/support/mesh.ts";
import { HboneError } from "../protocol/hbone/hbone-error.ts";
import { parseAuthority } from "../protocol/hbone/authority.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { closeReason, type CloseCode } from "./close-reasons.ts";
import {
  decideInboundHbone,
  decideInboundPlaintext,
  type InboundDecision,
  type InboundHboneFacts,
  type InboundRefusalCode,
} from "./inbound.ts";
import { MeshState, type MeshUpdate } from "./mesh-state.ts";

const cart = service("shop/cart", "10.96.0.1", [port(80, 8080), port(90, 0)]);
const cartPod = pod("shop/cart", "10.1.0.5", { services: backs([cart, port(80, 8080)]) });
const identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "client" };

function decide(authority: string, update: MeshUpdate = {}, more: Partial<InboundHboneFacts> = {}): InboundDecision {
  const parsed = parseAuthority(authority);
  assert.ok(!(parsed instanceof HboneError), authority);
  const state = new MeshState();
  state.apply({ services: [cart], workloads: [cartPod], ...update });
  return decideInboundHbone(state, {
    local: cartPod,
    socketAddress: "10.1.0.5",
    authority: parsed,
    peer: { address: "10.1.0.1", identity },
    ...more,
  });
}

type ConnectFailureCode = Extract<
  CloseCode,
  "CONNECT_REFUSED" | "CONNECT_TIMEOUT" | "CONNECT_FAILED" | "EPHEMERAL_EXHAUSTED"
>;

/** `connect address port` or `status REASON`. */
function outcome(decision: InboundDecision): string {
  return decision.kind === "connect"
    ? `connect ${decision.target.address} ${decision.target.port}`
    : `${decision.status} ${decision.reason}`;
}

describe("a CONNECT", () => {
  const rows: [string, string, string, MeshUpdate?, Partial<InboundHboneFacts>?][] = [
    ["F-060 for the pod's own address is connected there", "10.1.0.5:8080", "connect 10.1.0.5 8080"],
    [
      "F-060 for the pod's own IPv6 address is connected there",
      "[fd00:1::5]:8080",
      "connect fd00:1::5 8080",
      {},
      { socketAddress: "fd00:1::5" },
    ],
    [
      "F-060 H039 for the pod's own address written as IPv4-mapped is the same",
      "[::ffff:10.1.0.5]:8080",
      "connect 10.1.0.5 8080",
    ],
    ["F-062 H017 for another pod is refused", "10.1.0.6:8080", "400 DEST_NOT_LOCAL"],
    ["F-062 for another address of the same pod is refused", "[fd00:1::5]:8080", "400 DEST_NOT_LOCAL"],
    ["H017 for loopback is refused", "127.0.0.1:8080", "400 DEST_NOT_LOCAL"],
    ["H017 for loopback is refused before its port is looked at", "127.0.0.1:15008", "400 DEST_NOT_LOCAL"],
    ["H017 for IPv6 loopback is refused", "[::1]:8080", "400 DEST_NOT_LOCAL"],
    ["H017 for a metadata address is refused", "169.254.169.254:80", "400 DEST_NOT_LOCAL"],
    ["F-062 for a service address without a waypoint here is refused", "10.96.0.1:80", "400 DEST_NOT_LOCAL"],
    [
      "F-069 to a pod that control has not told of is refused",
      "10.1.0.5:8080",
      "503 NO_WORKLOAD",
      {},
      { local: undefined },
    ],
    ["F-026 H018 for port 15001 is refused", "10.1.0.5:15001", "503 RECURSIVE_CALL"],
    ["F-026 H018 for port 15006 is refused", "10.1.0.5:15006", "503 RECURSIVE_CALL"],
    ["F-026 H018 for port 15008 is refused", "10.1.0.5:15008", "503 RECURSIVE_CALL"],
    ["F-026 H018 for port 15053 is refused", "10.1.0.5:15053", "503 RECURSIVE_CALL"],
    [
      "F-026 for port 15080 is the application's: nobody of ours listens there",
      "10.1.0.5:15080",
      "connect 10.1.0.5 15080",
    ],
    [
      "F-061 by hostname takes the endpoint's own port",
      "cart.shop.svc.cluster.local:80",
      "connect 10.1.0.5 7000",
      { workloads: [{ ...cartPod, services: backs([cart, port(80, 7000)]) }] },
    ],
    [
      "F-061 by hostname takes the service's target port otherwise",
      "cart.shop.svc.cluster.local:80",
      "connect 10.1.0.5 8080",
      { workloads: [{ ...cartPod, services: backs([cart]) }] },
    ],
    ["F-061 by an unknown hostname is refused", "other.shop.svc.cluster.local:80", "503 UNKNOWN_HOSTNAME"],
    [
      "F-061 by the hostname of a service hidden from the pod is refused",
      "cart.away.svc.cluster.local:80",
      "503 UNKNOWN_HOSTNAME",
      { services: [service("away/cart", "", [port(80, 8080)], { visibility: "namespace" })] },
    ],
    ["F-061 by hostname with a port nobody maps is refused", "cart.shop.svc.cluster.local:90", "503 NO_SERVICE_PORT"],
    ["F-061 by hostname with an undeclared port is refused", "cart.shop.svc.cluster.local:81", "503 NO_SERVICE_PORT"],
    [
      "F-026 H018 by hostname for a port that maps to the agent's own is refused",
      "cart.shop.svc.cluster.local:80",
      "503 RECURSIVE_CALL",
      { workloads: [{ ...cartPod, services: backs([cart, port(80, 15_006)]) }] },
    ],
    [
      "F-069 that policy denies is answered 401",
      "10.1.0.5:8080",
      "401 POLICY_DENIED",
      { policies: [policy("shop/no", { action: "deny", rules: [{ clauses: [] }] })] },
    ],
    [
      "F-069 that no ALLOW policy admits is answered 401",
      "10.1.0.5:8080",
      "401 POLICY_NOT_ALLOWED",
      { policies: [policy("shop/nobody", {})] },
    ],
    [
      "H070 to a pod with an unknown policy is answered 401",
      "10.1.0.5:8080",
      "401 POLICY_UNKNOWN",
      { workloads: [{ ...cartPod, policies: ["shop/missing"] }] },
    ],
  ];
  for (const [name, authority, expected, update, more] of rows) {
    test(name, () => assert.equal(outcome(decide(authority, update, more)), expected));
  }

  test("F-168 by hostname is judged by the port it ends on", () => {
    const only = (allowed: number): MeshUpdate => ({
      policies: [policy("shop/p", { rules: [ruleOf({ destinationPorts: [allowed] })] })],
    });
    assert.equal(outcome(decide("cart.shop.svc.cluster.local:80", only(8080))), "connect 10.1.0.5 8080");
    assert.equal(outcome(decide("cart.shop.svc.cluster.local:80", only(80))), "401 POLICY_NOT_ALLOWED");
  });

  test("F-166 is judged by the address of the TCP peer", () => {
    const update = { policies: [policy("shop/p", { rules: [ruleOf({ sourceIps: [cidr("10.1.0.1/32")] })] })] };
    assert.equal(outcome(decide("10.1.0.5:80", update)), "connect 10.1.0.5 80");
    assert.equal(
      outcome(decide("10.1.0.5:80", update, { peer: { address: "10.1.0.2", identity } })),
      "401 POLICY_NOT_ALLOWED",
    );
  });

  test("F-174 that is refused by policy names the policy", () => {
    const decision = decide("10.1.0.5:80", {
      policies: [policy("shop/no", { action: "deny", rules: [{ clauses: [] }] })],
    });
    assert.equal(decision.policy, "shop/no");
    assert.deepEqual(decision.trace.at(-1), { code: "refused", reason: "POLICY_DENIED" });
  });
});

describe("a waypoint's pod", () => {
  const waypoint = service("shop/waypoint", "10.96.0.9", [port(15_008, 15_008)]);
  const waypointPod = pod("shop/waypoint-1", "10.1.0.40", { services: backs([waypoint]) });
  const at = (authority: string, update: MeshUpdate, local: MeshWorkload = waypointPod): string =>
    outcome(
      decide(
        authority,
        { ...update, workloads: [local, ...(update.workloads ?? [])] },
        { local, socketAddress: "10.1.0.40" },
      ),
    );

  test("F-064 accepts the addresses of services that name it, and is connected itself", () => {
    const services = [{ ...cart, waypoint: gatewayAt(waypoint) }, waypoint];
    assert.equal(at("10.96.0.1:80", { services }), "connect 10.1.0.40 80");
    assert.equal(at("10.96.0.1:80", { services: [cart, waypoint] }), "400 DEST_NOT_LOCAL");
  });

  test("F-064 B18 accepts services that name it among weighted waypoints", () => {
    const weightedWaypoints = [{ destination: gatewayAt(waypoint), weight: 1 }];
    assert.equal(at("10.96.0.1:80", { services: [{ ...cart, weightedWaypoints }, waypoint] }), "connect 10.1.0.40 80");
  });

  test("F-064 accepts the addresses of workloads that name it, by service or by its own address", () => {
    const byAddress = { destination: { kind: "address", network: "", address: "10.1.0.40" }, port: 15_008 } as const;
    const byVip = { destination: { kind: "address", network: "", address: "10.96.0.9" }, port: 15_008 } as const;
    for (const reference of [gatewayAt(waypoint), byAddress, byVip]) {
      assert.equal(
        at("10.1.0.5:80", { services: [waypoint], workloads: [{ ...cartPod, waypoint: reference }] }),
        "connect 10.1.0.40 80",
      );
    }
    assert.equal(at("10.1.0.5:80", { services: [waypoint], workloads: [cartPod] }), "400 DEST_NOT_LOCAL");
  });

  test("F-065 behind a plain application tunnel is reached on the tunnel's port, whatever the authority", () => {
    const local = { ...waypointPod, applicationTunnel: { protocol: "none", port: 15_088 } } as const;
    assert.equal(at("203.0.113.9:443", {}, local), "connect 10.1.0.40 15088");
    assert.equal(at("127.0.0.1:443", {}, local), "400 DEST_NOT_LOCAL");
    assert.equal(
      at("203.0.113.9:15001", {}, local),
      "503 RECURSIVE_CALL",
      "B21: the port is looked at before the tunnel replaces it",
    );
  });

  test("F-026 behind an application tunnel to the agent's own port is refused", () => {
    const local = { ...waypointPod, applicationTunnel: { protocol: "none", port: 15_006 } } as const;
    assert.equal(at("203.0.113.9:443", {}, local), "503 RECURSIVE_CALL");
  });

  test("F-064 accepts services without a waypoint whose endpoints' service account has it for one", () => {
    const behind = { ...cartPod, waypoint: gatewayAt(waypoint), waypointScope: "service-account" } as const;
    const services = [cart, waypoint];
    assert.equal(at("10.96.0.1:80", { services, workloads: [behind] }), "connect 10.1.0.40 80");
    const { waypointScope: _, ...podAddressedOnly } = behind;
    assert.equal(at("10.96.0.1:80", { services, workloads: [podAddressedOnly] }), "400 DEST_NOT_LOCAL");
    const elsewhere = { ...cart, waypoint: gatewayAt(service("shop/another", "10.96.0.77", [])) };
    assert.equal(at("10.96.0.1:80", { services: [elsewhere, waypoint], workloads: [behind] }), "400 DEST_NOT_LOCAL");
  });

  test("F-066 F-067 behind a PROXY tunnel is reached on loopback, with a header that names the destination", () => {
    const local = { ...waypointPod, applicationTunnel: { protocol: "proxy", port: 15_088 } } as const;
    const facts = { local, socketAddress: "10.1.0.40" };
    const update = { workloads: [local], services: [cart] };
    const byAddress = decide("10.96.0.1:80", update, facts);
    assert.equal(outcome(byAddress), "connect 127.0.0.1 15088");
    assert.ok(byAddress.kind === "connect");
    assert.deepEqual(byAddress.proxyHeader, { destination: { address: "10.96.0.1", port: 80 } });
    assert.deepEqual(byAddress.destination, { address: "10.1.0.40", port: 15_088 }, "what policies see");
    assert.equal(
      outcome(decide("10.96.0.1:80", update, { ...facts, localhostApplicationTunnel: false })),
      "connect 10.1.0.40 15088",
    );
    const six = decide("10.96.0.1:80", update, { ...facts, socketAddress: "fd00:1::40" });
    assert.equal(outcome(six), "connect ::1 15088");
  });

  test("F-066 a PROXY header for a hostname names a virtual address, of this network and IPv4 rather than others", () => {
    const local = { ...waypointPod, applicationTunnel: { protocol: "proxy", port: 15_088 } } as const;
    const vips = [
      { network: "west", address: "10.96.0.7" },
      { network: "", address: "fd00:96::7" },
      { network: "", address: "10.96.0.8" },
    ];
    const decision = decide(
      "cart.shop.svc.cluster.local:80",
      { workloads: [local], services: [{ ...cart, vips }] },
      { local, socketAddress: "10.1.0.40" },
    );
    assert.deepEqual(decision.kind === "connect" && decision.proxyHeader, {
      destination: { address: "10.96.0.8", port: 80 },
    });
  });
});

test("F-069 every refusal has the status that other agents give it", () => {
  const statuses: Record<InboundRefusalCode | "NOT_CONNECT" | "BAD_AUTHORITY" | ConnectFailureCode, number> = {
    NOT_CONNECT: 400,
    BAD_AUTHORITY: 400,
    NO_WORKLOAD: 503,
    NO_POLICIES: 503,
    DEST_NOT_LOCAL: 400,
    UNKNOWN_HOSTNAME: 503,
    NO_SERVICE_PORT: 503,
    RECURSIVE_CALL: 503,
    POLICY_DENIED: 401,
    POLICY_NOT_ALLOWED: 401,
    POLICY_MTLS_REQUIRED: 401,
    POLICY_UNKNOWN: 401,
    WAYPOINT_REQUIRED: 401,
    CONNECT_REFUSED: 503,
    CONNECT_TIMEOUT: 503,
    CONNECT_FAILED: 503,
    EPHEMERAL_EXHAUSTED: 503,
  };
  for (const [code, status] of Object.entries(statuses)) {
    assert.equal(closeReason(code as InboundRefusalCode).status, status, code);
  }
});

describe("a pod with a waypoint", () => {
  const waypoint = service("shop/waypoint", "10.96.0.9", [port(15_008, 15_008)]);
  const waypointPod = pod("shop/waypoint", "10.1.0.40", { services: backs([waypoint]) });
  const behind = { ...cartPod, waypoint: gatewayAt(waypoint) };
  const update = { workloads: [behind, waypointPod], services: [cart, waypoint] };

  test("M02 is reached by tunnel through it only, unless that is not required", () => {
    const through = { peer: { address: "10.1.0.40", identity: waypointPod } };
    assert.equal(outcome(decide("10.1.0.5:8080", update, through)), "connect 10.1.0.5 8080");
    const past = decide("10.1.0.5:8080", update);
    assert.equal(outcome(past), "401 WAYPOINT_REQUIRED");
    assert.equal(past.kind === "refuse" && past.waypoint, "shop/waypoint.shop.svc.cluster.local:15008");
    assert.equal(outcome(decide("10.1.0.5:8080", update, { requireWaypoint: false })), "connect 10.1.0.5 8080");
  });

  test("M02 is not reached in plaintext, unless its waypoint is not required", () => {
    const state = new MeshState();
    state.apply(update);
    const facts = { local: behind, destination: { address: "10.1.0.5", port: 8080 }, peerAddress: "10.9.0.1" };
    assert.equal(outcome(decideInboundPlaintext(state, facts)), "401 WAYPOINT_REQUIRED");
    assert.equal(outcome(decideInboundPlaintext(state, { ...facts, requireWaypoint: false })), "connect 10.1.0.5 8080");
  });
});

describe("plaintext", () => {
  const plaintext = (
    destinationPort: number,
    update: MeshUpdate = {},
    local: MeshWorkload | undefined = cartPod,
  ): string => {
    const state = new MeshState();
    state.apply({ workloads: [cartPod], ...update });
    return outcome(
      decideInboundPlaintext(state, {
        local,
        destination: { address: "10.1.0.5", port: destinationPort },
        peerAddress: "10.9.0.1",
      }),
    );
  };
  const strict = policy("istio-system/istio_converted_static_strict", {
    scope: "selector",
    action: "deny",
    rules: [ruleOf({ notPrincipals: [{ kind: "presence" }] })],
  });

  test("F-068 goes on to where it was going", () => {
    assert.equal(plaintext(8080), "connect 10.1.0.5 8080");
  });

  test("F-172 H035 to a STRICT workload is refused for want of mutual TLS", () => {
    assert.equal(
      plaintext(8080, { workloads: [{ ...cartPod, policies: [strict.key] }], policies: [strict] }),
      "401 POLICY_MTLS_REQUIRED",
    );
  });

  test("F-026 H034 to the agent's own ports is refused", () => {
    for (const own of [15_001, 15_006, 15_008, 15_053]) assert.equal(plaintext(own), "503 RECURSIVE_CALL");
  });

  test("F-163 fits no policy that names a caller", () => {
    const update = { policies: [policy("shop/p", { rules: [ruleOf({ principals: [{ kind: "presence" }] })] })] };
    assert.equal(plaintext(8080, update), "401 POLICY_NOT_ALLOWED");
  });

  test("H040 to a pod that control has not told of is refused", () => {
    const state = new MeshState();
    const facts = { local: undefined, destination: { address: "10.1.0.5", port: 80 }, peerAddress: "10.9.0.1" };
    assert.equal(outcome(decideInboundPlaintext(state, facts)), "503 NO_WORKLOAD");
  });
});
