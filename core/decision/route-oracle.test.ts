import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { outcomes, type Outcome } from "../../test/oracles/route.ts";
import { cidr, pod, port, service } from "../../test/support/mesh.ts";
import { formatEndpoint } from "../base/ip.ts";
import { seededRandom } from "../base/random.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { isCloseCode } from "./close-reasons.ts";
import { MeshState } from "./mesh-state.ts";
import { decideOutbound, type OutboundDecision } from "./route.ts";

describe("any mesh", () => {
  const namespaces = fc.constantFrom("shop", "shop", "other");
  const networks = fc.oneof({ weight: 3, arbitrary: fc.constant("") }, fc.constant("west"));
  const podAddress = fc.constantFrom("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::1", "fd00::2");
  const vip = fc.constantFrom("10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00:96::1", "10.0.0.4");
  const prefixes = ["10.0.0.0/30", "10.96.0.0/24", "10.96.0.0/25", "10.96.0.0/16", "fd00:96::/64", "10.0.0.0/8"].map(
    cidr,
  );
  const serviceNames = ["a", "b", "c", "gate"];
  const serviceKey = fc
    .tuple(namespaces, fc.constantFrom(...serviceNames))
    .map(([namespace, name]) => `${namespace}/${name}.${namespace}.svc.cluster.local`);
  const names = ["one.example", "two.example"];
  const ports = fc.constantFrom(80, 15_008);
  const usual = [port(80, 8080), port(15_008, 15_008)];
  const mappings = fc.oneof(
    { weight: 3, arbitrary: fc.constant(usual) },
    fc.array(
      fc.tuple(ports, fc.constantFrom(0, 8080, 15_008)).map(([from, to]) => port(from, to)),
      { maxLength: 2 },
    ),
  );
  const some = <T>(value: fc.Arbitrary<T>, weight = 2): fc.Arbitrary<T | undefined> =>
    fc.oneof({ weight, arbitrary: fc.constant(undefined) }, value);
  const mostly = <T>(usual: T, value: fc.Arbitrary<T>): fc.Arbitrary<T> =>
    fc.oneof({ weight: 4, arbitrary: fc.constant(usual) }, value);

  const reference: fc.Arbitrary<GatewayRef> = fc.record({
    destination: fc.oneof(
      fc.record({ kind: fc.constant("address" as const), network: networks, address: fc.oneof(podAddress, vip) }),
      fc
        .oneof(
          serviceKey,
          fc.tuple(namespaces, fc.constantFrom(...names)).map((pair) => pair.join("/")),
        )
        .map((key) => ({ kind: "hostname" as const, namespace: key.split("/")[0]!, hostname: key.split("/")[1]! })),
    ),
    port: mostly(15_008, fc.constantFrom(80, 16_008)),
  });

  const workload: fc.Arbitrary<MeshWorkload> = fc
    .record({
      namespace: namespaces,
      isPod: mostly(true, fc.constant(false)),
      name: fc.constantFrom("w1", "w2", "w3", "w4", "w5", "w6"),
      addresses: fc.uniqueArray(podAddress, { maxLength: 2 }),
      hostname: mostly("", fc.constantFrom(...names)),
      network: networks,
      tunnel: mostly<"hbone" | "tcp">("hbone", fc.constant("tcp" as const)),
      hostNetwork: mostly(false, fc.constant(true)),
      healthy: mostly(true, fc.constant(false)),
      capacity: mostly(1, fc.constantFrom(0, 5)),
      node: fc.constantFrom("n1", "n2"),
      zone: fc.constantFrom("z1", "z2"),
      services: fc.array(fc.tuple(serviceKey, mappings), { minLength: 1, maxLength: 4 }),
      waypoint: some(reference),
      isAccounts: fc.boolean(),
      networkGateway: some(reference, 1),
      tunnelPort: some(fc.constantFrom(15_088), 4),
    })
    .map(({ isPod, isAccounts, zone, services, waypoint, networkGateway, tunnelPort, ...rest }) => ({
      ...pod(`${rest.namespace}/${rest.name}`, ""),
      ...rest,
      ...(isPod ? {} : { uid: `Kubernetes/networking.istio.io/WorkloadEntry/${rest.namespace}/${rest.name}` }),
      locality: { region: "r", zone, subzone: "" },
      services: new Map(services),
      ...(waypoint && { waypoint }),
      ...(waypoint && isAccounts && { waypointScope: "service-account" as const }),
      ...(networkGateway && { networkGateway }),
      ...(tunnelPort !== undefined && { applicationTunnel: { protocol: "proxy" as const, port: tunnelPort } }),
    }));

  const someService: fc.Arbitrary<MeshService> = fc
    .record({
      path: fc.tuple(namespaces, fc.constantFrom(...serviceNames)).map((pair) => pair.join("/")),
      vips: fc.array(fc.record({ network: networks, address: vip }), { maxLength: 2 }),
      cidrVips: fc.array(
        fc.tuple(networks, fc.constantFrom(...prefixes)).map(([network, prefix]) => ({ network, ...prefix })),
        { maxLength: 2 },
      ),
      ports: mappings,
      subjectAltNames: mostly<string[]>(
        ["spiffe://td/ns/a/sa/b"],
        fc.constantFrom([], ["plain.example"], ["spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b", "x"]),
      ),
      waypoint: some(reference, 4),
      weightedWaypoints: mostly(
        [],
        fc.array(fc.record({ destination: reference, weight: fc.constantFrom(0, 1, 9) }), { maxLength: 3 }),
      ),
      loadBalancing: some(
        fc.record({
          mode: fc.constantFrom("any" as const, "strict" as const, "failover" as const, "passthrough" as const),
          preferences: fc.constantFrom(
            ["zone" as const],
            ["node" as const, "zone" as const],
            ["network" as const, "zone" as const, "node" as const],
            ["zone" as const, "network" as const],
          ),
          allowUnhealthy: fc.boolean(),
        }),
      ),
      ipFamilies: mostly<MeshService["ipFamilies"]>(
        "automatic",
        fc.constantFrom("ipv4" as const, "ipv6" as const, "dual" as const),
      ),
      canonical: fc.boolean(),
      visibility: mostly<MeshService["visibility"]>("public", fc.constant("namespace" as const)),
    })
    .map(({ path, waypoint, loadBalancing, ...rest }) => ({
      ...service(path, "", []),
      ...rest,
      ...(waypoint && { waypoint }),
      ...(loadBalancing && { loadBalancing }),
    }));

  const anyMesh = fc.record({
    workloads: fc.uniqueArray(workload, { selector: ({ uid }) => uid, minLength: 3, maxLength: 9 }),
    services: fc.uniqueArray(someService, { selector: ({ key }) => key, minLength: 2, maxLength: 6 }),
    sourceAt: fc.nat(6),
    network: networks,
    target: fc.record({
      address: fc.oneof(podAddress, vip, fc.constantFrom("10.96.0.9", "192.0.2.1", "::1")),
      port: mostly(80, fc.constantFrom(15_008, 81)),
    }),
    excludedAt: some(fc.nat(6)),
    names: fc.constantFrom<Record<string, string[]>>(
      {},
      { "one.example": ["192.0.2.7", "2001:db8::7", "192.0.2.8"], "two.example": [] },
      { "one.example": ["2001:db8::7"] },
    ),
    seed: fc.nat(),
  });

  test("is routed as the plain reading of the rules routes it", () => {
    const seen = new Map<string, number>();
    const tally = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);
    fc.assert(
      fc.property(anyMesh, ({ workloads, services, sourceAt, network, target, excludedAt, names, seed }) => {
        const source = workloads[sourceAt] ?? pod("shop/client", "10.9.9.9");
        const excluded = excludedAt === undefined ? undefined : workloads[excludedAt]?.uid;
        const exclude = excluded === undefined ? [] : [excluded];
        const question = { workloads, services, source, network, target, exclude, names };
        const expected = outcomes(question).map(text);
        assert.ok(expected.length > 0);
        const state = new MeshState();
        state.apply({ workloads, services });
        for (let draw = 0; draw < 3; draw++) {
          const decision = decideOutbound(state, {
            source,
            network,
            target,
            random: seededRandom(seed + draw),
            exclude: new Set(exclude),
            resolved: (hostname) => names[hostname],
          });
          const actual = text(outcomeOf(decision));
          assert.ok(expected.includes(actual), `${actual}\nis none of\n${expected.join("\n")}`);
          isExplained(decision);
          tally(decision.kind === "refuse" ? decision.reason : decision.kind);
          if (decision.trace.some(({ code }) => code === "waypoint-of-account")) tally("of an account");
          if (decision.trace.some(({ code }) => code === "prefix-balances")) tally("B9");
          if (decision.kind === "hbone") tally(`hbone ${decision.via}`);
          if (decision.kind === "double-hbone") tally(`double ${decision.via}`);
        }
      }),
      { numRuns: 12_000, seed: 1 },
    );
    for (const what of mustBeSeen) {
      assert.ok((seen.get(what) ?? 0) >= 20, `too few cases of ${what}: ${JSON.stringify([...seen])}`);
    }
  });
});

/** Everything a reader of the trace needs is in it. */
function isExplained(decision: OutboundDecision): void {
  const last = decision.trace.at(-1);
  assert.ok(last !== undefined, "a decision without a reason");
  const told = JSON.stringify(decision.trace);
  const first = decision.trace[0]?.code ?? "";
  assert.ok(first.startsWith("target-is-") || (last.code === "refused" && last.reason === "RECURSIVE_CALL"), first);
  switch (decision.kind) {
    case "refuse":
      assert.deepEqual(last, { code: "refused", reason: decision.reason });
      return assert.ok(isCloseCode(decision.reason));
    case "passthrough":
      return assert.equal(last.code, "kept-as-it-is");
    case "double-hbone":
      assert.ok(told.includes(decision.gateway.workload.uid), "the gateway is not named");
      return assert.ok(told.includes(decision.workload.uid), "the chosen workload is not named");
    case "direct":
    case "hbone":
      return assert.ok(told.includes(decision.workload.uid), "the chosen workload is not named");
  }
}

function outcomeOf(decision: OutboundDecision): Outcome {
  switch (decision.kind) {
    case "refuse":
      return { kind: "refuse", reason: decision.reason };
    case "passthrough":
      return { kind: "passthrough", to: formatEndpoint(decision.target) };
    case "direct":
      return { kind: "direct", uid: decision.workload.uid, to: formatEndpoint(decision.target) };
    case "hbone":
    case "double-hbone": {
      const { kind, authority, identities } = decision;
      const to = formatEndpoint(decision.tunnel);
      const inner = kind === "double-hbone" ? { inner: decision.innerIdentities } : {};
      return { kind, uid: decision.workload.uid, to, authority, identities, ...inner };
    }
  }
}

/** The same text for the same outcome, in whatever order its fields were written. */
function text(outcome: Outcome): string {
  return JSON.stringify(outcome, Object.keys(outcome).sort());
}

const mustBeSeen = [
  "passthrough",
  "direct",
  "hbone workload",
  "hbone waypoint",
  "double workload",
  "double waypoint",
  "of an account",
  "B9",
  "NO_SERVICE_PORT",
  "NO_HEALTHY_UPSTREAM",
  "UNKNOWN_WAYPOINT",
  "NO_HEALTHY_WAYPOINT",
  "CROSS_NETWORK_ADDRESS",
  "NO_NETWORK_GATEWAY",
  "NO_HEALTHY_GATEWAY",
  "NO_REMOTE_IDENTITY",
  "NO_USABLE_ADDRESS",
  "HOSTNAME_UNRESOLVED",
  "RECURSIVE_CALL",
];
