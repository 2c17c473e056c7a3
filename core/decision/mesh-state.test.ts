import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { backs, cidr, gatewayAt, pod, policy, port, ruleOf, service } from "../../test/support/mesh.ts";
import type { Policy } from "../protocol/wds/authorization.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { ConnectionIndex } from "./affected.ts";
import { authorize, type Authorization } from "./authorize.ts";
import { MeshState, type MeshUpdate } from "./mesh-state.ts";

const cart = service("shop/cart", "10.96.0.1", [port(80, 8080)]);

describe("addresses", () => {
  const shared = "10.1.0.5";
  const found = (...workloads: MeshWorkload[]): string | undefined => {
    const state = new MeshState();
    state.apply({ workloads });
    return state.workloadByAddress("", shared)?.uid;
  };

  test("F-056 shared by several workloads mean the captured pod, then a pod, then what takes HBONE", () => {
    const captured = pod("shop/captured", shared);
    const plain = pod("shop/plain", shared, { tunnel: "tcp" });
    const entry = { ...pod("shop/entry", shared), uid: "Kubernetes/networking.istio.io/WorkloadEntry/shop/entry" };
    const plainEntry = { ...entry, uid: `${entry.uid}-2`, tunnel: "tcp" as const };
    const ranked = [captured, plain, entry, plainEntry];
    for (let best = 0; best < ranked.length; best++) {
      const candidates = ranked.slice(best);
      assert.equal(found(...candidates), ranked[best]?.uid);
      assert.equal(found(...candidates.toReversed()), ranked[best]?.uid);
    }
  });

  test("F-055 of host-network workloads mean nobody", () => {
    assert.equal(found(pod("shop/host", shared, { hostNetwork: true })), undefined);
  });

  test("mean the remaining workload when the preferred one goes", () => {
    const state = new MeshState();
    const [captured, plain] = [pod("shop/captured", shared), pod("shop/plain", shared, { tunnel: "tcp" })];
    state.apply({ workloads: [captured, plain] });
    state.apply({ removed: { addresses: [captured.uid] } });
    assert.equal(state.workloadByAddress("", shared)?.uid, plain.uid);
    state.apply({ workloads: [{ ...plain, addresses: ["10.1.0.6"] }] });
    assert.equal(state.workloadByAddress("", shared), undefined);
    assert.equal(state.workloadByAddress("", "10.1.0.6")?.uid, plain.uid);
  });

  test("of another network are another's", () => {
    const state = new MeshState();
    state.apply({ workloads: [pod("shop/west", shared, { network: "west" })] });
    assert.equal(state.workloadByAddress("", shared), undefined);
    assert.equal(state.workloadByAddress("west", shared)?.name, "west");
  });
});

describe("services", () => {
  const vip = "10.96.7.7";
  const chosen = (services: MeshService[], client: string, address = vip): string | undefined => {
    const orders = [services, services.toReversed()].map((order) => {
      const state = new MeshState();
      state.apply({ services: order });
      return state.serviceByAddress("", address, client)?.service.namespace;
    });
    assert.equal(orders[0], orders[1], "the order of arrival decides nothing");
    return orders[0];
  };

  test("F-050 that share an address: the client's namespace, then the canonical one, then the first by name", () => {
    const a = service("a/s", vip, [], { canonical: false });
    const b = service("b/s", vip, [], { canonical: false });
    const c = service("c/s", vip, []);
    assert.equal(chosen([a, b, c], "a"), "a");
    assert.equal(chosen([a, b, c], "elsewhere"), "c");
    assert.equal(chosen([b, a], "elsewhere"), "a");
  });

  test("F-050 that share a hostname are preferred alike", () => {
    const state = new MeshState();
    const one = { ...service("a/s", "", [], { canonical: false }), hostname: "x.example", key: "a/x.example" };
    const two = { ...service("b/s", "", []), hostname: "x.example", key: "b/x.example" };
    state.apply({ services: [one, two] });
    assert.equal(state.serviceByHostname("x.example", "a")?.key, one.key);
    assert.equal(state.serviceByHostname("x.example", "c")?.key, two.key);
  });

  test("F-049 of namespace visibility are seen by their own namespace only", () => {
    const hidden = service("a/s", vip, [], { visibility: "namespace" });
    assert.equal(chosen([hidden], "a"), "a");
    assert.equal(chosen([hidden], "b"), undefined);
  });

  test("F-033 prefixes: the client's namespace, then the longest, then the canonical; an exact address before all", () => {
    const around = (path: string, prefix: string, more: Partial<MeshService> = {}): MeshService =>
      service(path, "", [], { cidrVips: [{ network: "", ...cidr(prefix) }], ...more });
    const wide = around("wide/s", "10.96.0.0/16");
    const narrow = around("narrow/s", "10.96.7.0/24", { canonical: false });
    const narrowCanonical = around("official/s", "10.96.7.0/24");
    const exact = service("exact/s", vip, []);
    assert.equal(chosen([wide, narrow], "wide"), "wide");
    assert.equal(chosen([wide, narrow], "elsewhere"), "narrow");
    assert.equal(chosen([wide, narrow, narrowCanonical], "elsewhere"), "official");
    assert.equal(chosen([wide, narrow, narrowCanonical, exact], "wide"), "exact");
    assert.equal(chosen([wide, narrow], "elsewhere", "10.96.8.1"), "wide");
    assert.equal(chosen([around("all/s", "0.0.0.0/0")], "elsewhere", "192.0.2.1"), "all");
    assert.equal(chosen([around("all/s", "0.0.0.0/0")], "elsewhere", "fd00::1"), undefined);
    assert.equal(chosen([around("six/s", "fd00:96::/64")], "elsewhere", "fd00:96::77"), "six");
  });

  test("F-033 a hidden exact address does not hide the prefix around it", () => {
    const hidden = service("a/s", vip, [], { visibility: "namespace" });
    const around = service("b/s", "", [], { cidrVips: [{ network: "", ...cidr("10.96.0.0/16") }] });
    assert.equal(chosen([hidden, around], "elsewhere"), "b");
  });

  test("F-115 find the endpoints that arrived before them, and health is theirs to judge", () => {
    const state = new MeshState();
    const well = pod("shop/well", "10.1.0.5", { services: backs([cart]) });
    const sick = pod("shop/sick", "10.1.0.6", { services: backs([cart]), healthy: false });
    state.apply({ workloads: [well, sick] });
    state.apply({ services: [cart] });
    assert.deepEqual([...state.endpoints(cart).keys()], [well.uid]);
    const lenient = { ...cart, loadBalancing: { mode: "any", preferences: [], allowUnhealthy: true } as const };
    state.apply({ services: [lenient] });
    assert.deepEqual([...state.endpoints(lenient).keys()].sort(), [sick.uid, well.uid]);
    state.apply({ workloads: [{ ...well, services: new Map() }], removed: { addresses: [sick.uid] } });
    assert.equal(state.endpoints(lenient).size, 0);
  });
});

test("pods are found by name, and by account where one name has two", () => {
  const state = new MeshState();
  const one = pod("shop/cart", "10.1.0.5");
  const two = { ...pod("shop/cart", "10.2.0.5"), uid: "Other//Pod/shop/cart", serviceAccount: "other" };
  state.apply({ workloads: [two, one] });
  assert.equal(state.workloadOf("shop", "cart")?.uid, one.uid);
  assert.equal(state.workloadOf("shop", "cart", "other")?.uid, two.uid);
  assert.equal(state.workloadOf("shop", "cart", "third"), undefined);
});

test("a change names what it touched and whose authorisation it may turn", () => {
  const state = new MeshState();
  const web = pod("shop/web", "10.1.0.5", { policies: ["shop/chosen"] });
  const first = state.apply({ workloads: [web], services: [cart] });
  assert.deepEqual([[...first.workloads], [...first.services]], [[web.uid], [cart.key]]);
  const reach = (update: MeshUpdate): unknown => {
    const { everyone, namespaces, workloads } = state.apply(update).authorization;
    return { everyone, namespaces: [...namespaces], workloads: [...workloads] };
  };
  const nobody = { everyone: false, namespaces: [], workloads: [] };
  assert.deepEqual(reach({ policies: [policy("root/p", { scope: "global" })] }), { ...nobody, everyone: true });
  assert.deepEqual(reach({ policies: [policy("shop/p", { scope: "namespace" })] }), {
    ...nobody,
    namespaces: ["shop"],
  });
  assert.deepEqual(reach({ policies: [policy("shop/chosen", { scope: "selector" })] }), {
    ...nobody,
    workloads: [web.uid],
  });
  assert.deepEqual(reach({ policies: [policy("shop/unlisted", { scope: "selector" })] }), nobody);
  assert.deepEqual(
    reach({ policies: [policy("shop/p", { scope: "selector" })] }),
    { ...nobody, namespaces: ["shop"] },
    "the old scope counts too",
  );
  assert.deepEqual(reach({ workloads: [{ ...web, healthy: false }] }), nobody);
  assert.deepEqual(reach({ workloads: [{ ...web, policies: [] }] }), { ...nobody, workloads: [web.uid] });
  assert.deepEqual(reach({ removed: { policies: ["root/p", "root/never"] } }), { ...nobody, everyone: true });
});

describe("any churn", () => {
  const addresses = ["10.1.0.1", "10.1.0.2", "fd00::1"];
  const networks = ["", "west"];
  const namespaces = ["a", "b"];
  const serviceKeys = ["a/s1", "a/s2", "b/s1"];
  const policyKeys = ["a/p", "a/q", "b/p", "root/r"];
  const anyWorkload = fc
    .record({
      path: fc.constantFrom("a/w1", "a/w2", "b/w1"),
      kind: fc.constantFrom("Kubernetes//Pod/", "Kubernetes/networking.istio.io/WorkloadEntry/"),
      address: fc.subarray(addresses),
      network: fc.constantFrom(...networks),
      tunnel: fc.constantFrom("tcp" as const, "hbone" as const),
      healthy: fc.boolean(),
      hostNetwork: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
      hostname: fc.constantFrom("", "s1.a.svc.cluster.local", "w.example"),
      services: fc.subarray(serviceKeys),
      policies: fc.subarray(policyKeys),
    })
    .map(({ path, kind, address, services, ...more }) => ({
      ...pod(path, ""),
      uid: kind + path,
      addresses: address,
      services: new Map(services.map((key) => [service(key, "", []).key, [port(80, 8080)]])),
      ...more,
    }));
  const anyService = fc
    .record({
      path: fc.constantFrom(...serviceKeys),
      vip: fc.constantFrom("10.1.0.1", "10.96.0.1"),
      prefixes: fc.subarray(["10.0.0.0/8", "10.96.0.0/16", "10.96.0.0/31", "fd00::/64"]),
      network: fc.constantFrom(...networks),
      canonical: fc.boolean(),
      visibility: fc.constantFrom("public" as const, "namespace" as const),
      allowUnhealthy: fc.boolean(),
    })
    .map(({ path, vip, prefixes, network, allowUnhealthy, ...more }) =>
      service(path, "", [port(80, 8080)], {
        vips: [{ network, address: vip }],
        cidrVips: prefixes.map((prefix) => ({ network, ...cidr(prefix) })),
        loadBalancing: { mode: "any", preferences: [], allowUnhealthy },
        ...more,
      }),
    );
  const anyPolicy = fc
    .record({
      key: fc.constantFrom(...policyKeys),
      scope: fc.constantFrom("global" as const, "namespace" as const, "selector" as const),
      action: fc.constantFrom("allow" as const, "deny" as const),
      dryRun: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, fc.constant(true)),
      rules: fc.constantFrom(
        [],
        [{ clauses: [] }],
        [ruleOf({ principals: [{ kind: "exact" as const, value: "cluster.local/ns/a/sa/x" }] })],
        [ruleOf({ namespaces: [{ kind: "exact" as const, value: "b" }] })],
        [ruleOf({ notPrincipals: [{ kind: "presence" as const }] })],
      ),
    })
    .map(({ key, ...more }) => policy(key, more));
  const workloadUids = ["a/w1", "a/w2", "b/w1"].map((path) => `Kubernetes//Pod/${path}`);
  const anyUpdate = fc.record({
    workloads: fc.uniqueArray(anyWorkload, { selector: ({ uid }) => uid, maxLength: 3 }),
    services: fc.uniqueArray(anyService, { selector: ({ key }) => key, maxLength: 2 }),
    policies: fc.uniqueArray(anyPolicy, { selector: ({ key }) => key, maxLength: 2 }),
    removed: fc.record({
      addresses: fc.subarray([...workloadUids, ...serviceKeys.map((path) => service(path, "", []).key), "nothing"]),
      policies: fc.subarray(policyKeys),
    }),
  });
  const peers = [
    undefined,
    { trustDomain: "cluster.local", namespace: "a", serviceAccount: "x" },
    { trustDomain: "cluster.local", namespace: "b", serviceAccount: "y" },
  ];

  /** What was sent and not taken back, and which listed policies were taken back after the list was sent. */
  class Sent {
    readonly workloads = new Map<string, MeshWorkload>();
    readonly services = new Map<string, MeshService>();
    readonly policies = new Map<string, Policy>();
    readonly withdrawn = new Map<string, Set<string>>();

    apply(update: Required<Omit<MeshUpdate, "isUnfinished" | "policiesComplete">>): void {
      for (const name of update.removed.addresses ?? []) {
        this.workloads.delete(name);
        this.withdrawn.delete(name);
        this.services.delete(name);
      }
      for (const key of update.removed.policies ?? []) {
        if (!this.policies.delete(key)) continue;
        for (const { uid, policies } of this.workloads.values()) {
          if (policies.includes(key)) this.withdrawn.set(uid, (this.withdrawn.get(uid) ?? new Set()).add(key));
        }
      }
      for (const one of update.policies) {
        this.policies.set(one.key, one);
        for (const keys of this.withdrawn.values()) keys.delete(one.key);
      }
      for (const one of update.services) this.services.set(one.key, one);
      for (const one of update.workloads) {
        this.workloads.set(one.uid, one);
        this.withdrawn.delete(one.uid);
      }
    }

    /** The same mesh, built at once and in reverse; what was taken back after it was listed is not listed any more. */
    rebuild(): MeshState {
      const state = new MeshState();
      const workloads = [...this.workloads.values()].map((workload) => ({
        ...workload,
        policies: workload.policies.filter((key) => !this.withdrawn.get(workload.uid)?.has(key)),
      }));
      state.apply({ workloads: workloads.reverse() });
      state.apply({ services: [...this.services.values()].reverse() });
      state.apply({ policies: [...this.policies.values()].reverse() });
      return state;
    }
  }

  function answersOf(state: MeshState, workloads: Iterable<MeshWorkload>): Map<string, Authorization> {
    const answers = new Map<string, Authorization>();
    for (const local of workloads) {
      for (const peer of peers) {
        const facts = {
          local,
          ...(peer && { peerIdentity: peer }),
          peerAddress: "10.1.0.9",
          destination: { address: "10.1.0.1", port: 80 },
        };
        answers.set(`${local.uid} ${peer?.namespace}`, authorize(state, facts));
      }
    }
    return answers;
  }

  /** Everything that can be asked, answered. */
  function observe(state: MeshState, workloads: Iterable<MeshWorkload>): unknown {
    const allAddresses = [...addresses, "10.96.0.1", "10.97.0.1", "192.0.2.1"];
    const everywhere = networks.flatMap((network) => allAddresses.map((address) => ({ network, address })));
    return {
      counts: state.counts,
      byName: ["a/w1", "a/w2", "b/w1"].map((path) => state.workloadOf(path.slice(0, 1), path.slice(2))?.uid),
      byAddress: everywhere.map(({ network, address }) => state.workloadByAddress(network, address)?.uid),
      services: everywhere.flatMap(({ network, address }) =>
        namespaces.map((namespace) => {
          const found = state.serviceByAddress(network, address, namespace);
          return found && `${found.service.key} ${found.by}`;
        }),
      ),
      hostnames: serviceKeys.flatMap((path) =>
        namespaces.map((namespace) => state.serviceByHostname(service(path, "", []).hostname, namespace)?.key),
      ),
      endpoints: serviceKeys.map((path) => {
        const found = state.service(service(path, "", []).key);
        return found && [[...state.endpoints(found).keys()].sort(), state.endpointCount(found.key)];
      }),
      gateways: [
        ...everywhere.map((one) => ({ kind: "address" as const, ...one })),
        ...serviceKeys.map((path) => gatewayAt(service(path, "", [])).destination),
        { kind: "hostname" as const, namespace: "a", hostname: "w.example" },
      ].map((destination) => {
        const found = state.gateway(destination, "a");
        return found && ("uid" in found ? found.uid : found.key);
      }),
      // Which of several fitting policies is named may differ; what comes of it may not.
      authorizations: [...answersOf(state, workloads)]
        .map(([key, answer]) => [key, answer.allowed, answer.allowed || answer.reason === "POLICY_UNKNOWN"])
        .sort(),
    };
  }

  test("leaves the state that the same mesh built at once has", () => {
    fc.assert(
      fc.property(fc.array(anyUpdate, { maxLength: 8 }), (updates) => {
        const state = new MeshState();
        const sent = new Sent();
        for (const update of updates) {
          state.apply(update);
          sent.apply(update);
          assert.deepEqual(observe(state, sent.workloads.values()), observe(sent.rebuild(), sent.workloads.values()));
        }
      }),
      { numRuns: 300 },
    );
  });

  test("lets no turned answer go unnoticed by the connections it concerns", () => {
    let turned = 0;
    fc.assert(
      fc.property(fc.array(anyUpdate, { minLength: 1, maxLength: 6 }), (updates) => {
        const state = new MeshState();
        for (const update of updates) {
          const open = [...state.workloads()];
          const index = new ConnectionIndex<string>();
          for (const { uid, namespace } of open) index.add(uid, { local: uid, namespace });
          const before = answersOf(state, open);
          const judged = index.toJudgeAgain(state.apply(update));
          for (const [key, answer] of answersOf(state, open)) {
            const was = before.get(key);
            if (answer.allowed === was?.allowed) continue;
            turned++;
            assert.ok(
              judged.has(key.slice(0, key.lastIndexOf(" "))),
              `${key} turned from ${was?.allowed} to ${answer.allowed}`,
            );
          }
        }
      }),
      { numRuns: 1_000 },
    );
    assert.ok(turned > 500, `only ${turned} answers turned`);
  });
});
