/** What is asked, by whom, and what the mesh answers (agent-wire 8). */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { backs, pod, port, service } from "../../test/support/mesh.ts";
import { seededRandom } from "../base/random.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { decideDns, type DnsDecision, type DnsSettings } from "./dns.ts";
import { MeshState } from "./mesh-state.ts";

const web = port(80, 8080);
const cart = service("shop/cart", "10.96.0.1", [web]);
const vault = service("vault/door", "10.96.0.2", [web]);
const six = service("shop/six", "fd00::6", [web], { ipFamilies: "ipv6" });
const dual = service("shop/dual", "10.96.0.3", [web], {
  ipFamilies: "dual",
  vips: [
    { network: "", address: "10.96.0.3" },
    { network: "", address: "fd00::3" },
  ],
});
const onlyV4 = service("shop/only4", "10.96.0.4", [web], { ...dual, ...named("shop", "only4"), ipFamilies: "ipv4" });
const elsewhere = service("shop/elsewhere", "", [web], { vips: [{ network: "far", address: "10.97.0.1" }] });
const both = service("shop/both", "", [web], {
  vips: [
    { network: "far", address: "10.97.0.2" },
    { network: "", address: "10.96.0.5" },
  ],
});
const db = service("shop/db", "", [web]);
const idle = service("shop/idle", "", [web]);
const api = entry("shop", "api.example.com", "240.240.0.1");
const wild = entry("shop", "*.wild.example.com", "240.240.0.2");
const wilder = entry("shop", "*.example.com", "240.240.0.3");
const local = entry("shop", "*.local", "240.240.0.9");
const unaddressed = entry("shop", "none.example.org", "");
const prefixed = entry("shop", "prefix.example.org", "", {
  cidrVips: [{ network: "", prefix: Uint8Array.of(10, 99, 0, 0), length: 16 }],
});
const shopTwin = entry("shop", "twin.example.net", "240.240.1.1", { canonical: false });
const vaultTwin = entry("vault", "twin.example.net", "240.240.1.2", { canonical: true });
const zooTwin = entry("zoo", "twin.example.net", "240.240.1.3", { canonical: false });
const hidden = entry("vault", "hidden.example.net", "240.240.1.4", { visibility: "namespace" });
const rivals = ["a", "b", "c"].map((ns, i) =>
  entry(ns, "rivals.example.net", `240.240.2.${i + 1}`, { canonical: false }),
);

const alice = pod("shop/alice", "10.0.0.1", { addresses: ["10.0.0.1", "fd01::1"] });
const bob = pod("vault/bob", "10.0.0.2");
const endpoints = [
  pod("shop/db-0", "10.0.1.0", { addresses: ["10.0.1.0", "fd01::10"], services: backs([db]) }),
  pod("shop/db-1", "10.0.1.1", { addresses: ["10.0.1.1", "10.0.1.9"], services: backs([db]) }),
  pod("shop/db-2", "10.0.1.2", { services: backs([db]), healthy: false }),
  pod("shop/db-3", "10.0.1.3", { services: backs([db]), network: "far" }),
];

const mesh = new MeshState();
mesh.apply({
  services: [
    ...[cart, vault, six, dual, onlyV4, elsewhere, both, db, idle, api, wild, wilder, local, unaddressed, prefixed],
    ...[shopTwin, vaultTwin, zooTwin, hidden, ...rivals],
  ],
  workloads: [alice, bob, ...endpoints],
});

const rows: [row: string, sentence: string, client: MeshWorkload, asked: string, answer: string][] = [
  ["F-180", "a service is found by its full name", alice, "A cart.shop.svc.cluster.local", "10.96.0.1"],
  ["F-180", "so is one of another namespace", alice, "A door.vault.svc.cluster.local", "10.96.0.2"],
  ["F-180", "only addresses of the client's network are told", alice, "A both.shop.svc.cluster.local", "10.96.0.5"],
  [
    "F-180",
    "a service without one on that network is left to its cluster",
    alice,
    "A elsewhere.shop.svc.cluster.local",
    "pass",
  ],
  ["F-180", "a name from outside has its virtual address", alice, "A api.example.com", "240.240.0.1"],
  ["F-180", "one without a virtual address is not ours", alice, "A none.example.org", "pass"],
  ["F-180", "nor is one that has only a prefix", alice, "A prefix.example.org", "pass"],
  ["F-181", "one label is a service of the client's namespace", alice, "A cart", "10.96.0.1"],
  ["F-181", "of the client's, and of no other", bob, "A cart", "pass"],
  ["F-181", "two labels are service and namespace", bob, "A cart.shop", "10.96.0.1"],
  ["F-181", "three labels end in svc", bob, "A cart.shop.svc", "10.96.0.1"],
  ["F-181", "four labels end in svc, where the service's name has a dot", bob, "A x.cart.shop.svc", "pass"],
  ["F-181", "upper case was made lower by the reader, so an unknown spelling is unknown", bob, "A CART.shop", "pass"],
  ["F-182", "a wildcard covers what is below it", alice, "A a.wild.example.com", "240.240.0.2"],
  ["F-182", "at any depth, the longest first", alice, "A a.b.wild.example.com", "240.240.0.2"],
  ["F-182", "its parent is another's", alice, "A wild.example.com", "240.240.0.3"],
  ["F-182", "an exact name comes before", alice, "A api.example.com", "240.240.0.1"],
  ["F-182", "a wildcard is not its own name", alice, "A example.com", "pass"],
  [
    "F-182",
    "a wildcard around the cluster's domain takes none of the cluster's names",
    alice,
    "A ext.shop.svc.cluster.local",
    "pass",
  ],
  ["F-182", "and takes others", alice, "A printer.local", "240.240.0.9"],
  [
    "F-183",
    "a headless service is its healthy endpoints of this network, one address each",
    alice,
    "A db.shop.svc.cluster.local",
    "10.0.1.0 10.0.1.1",
  ],
  ["F-183", "of the family asked for", alice, "AAAA db.shop.svc.cluster.local", "fd01::10"],
  ["F-183", "without endpoints its cluster may know more", alice, "A idle.shop.svc.cluster.local", "pass"],
  ["F-183", "a pod's own name below it is its cluster's to answer", alice, "A db-0.db.shop.svc.cluster.local", "pass"],
  [
    "F-184",
    "a search domain is cut off, and the rest named",
    alice,
    "A api.example.com.shop.svc.cluster.local",
    "api.example.com: 240.240.0.1",
  ],
  ["F-184", "the second search domain", alice, "A api.example.com.svc.cluster.local", "api.example.com: 240.240.0.1"],
  ["F-184", "the third search domain", alice, "A api.example.com.cluster.local", "api.example.com: 240.240.0.1"],
  ["F-184", "that of another namespace is none", alice, "A api.example.com.vault.svc.cluster.local", "pass"],
  ["F-184", "what is left may be short for more", bob, "A cart.shop.vault.svc.cluster.local", "cart.shop: 10.96.0.1"],
  [
    "F-184",
    "a wildcard's match keeps the name as it was asked for",
    alice,
    "A a.wild.example.com.shop.svc.cluster.local",
    "240.240.0.2",
  ],
  [
    "F-184",
    "what is left with another family's records still has a name",
    alice,
    "AAAA api.example.com.shop.svc.cluster.local",
    "api.example.com: ",
  ],
  ["F-185", "no record of that family is no record, not no name", alice, "AAAA cart.shop.svc.cluster.local", ""],
  ["F-185", "the same the other way round", alice, "A six.shop.svc.cluster.local", ""],
  ["F-185 H090", "a name with IPv6 addresses alone has those", alice, "AAAA six.shop.svc.cluster.local", "fd00::6"],
  ["F-185", "both families", alice, "AAAA dual.shop.svc.cluster.local", "fd00::3"],
  ["F-185", "a service that speaks IPv4 only hides its other address", alice, "AAAA only4.shop.svc.cluster.local", ""],
  ["F-185", "a client without IPv6 is given no address it can't reach", bob, "AAAA dual.shop.svc.cluster.local", ""],
  ["F-186", "an unknown name passes", alice, "A example.invalid", "pass"],
  ["F-186", "a service that is not there passes", alice, "A nobody.shop.svc.cluster.local", "pass"],
  ["F-186", "the domain itself passes", alice, "A svc.cluster.local", "pass"],
  ["F-189", "the client's own namespace comes first", alice, "A twin.example.net", "240.240.1.1"],
  ["F-189", "then the canonical one", pod("zoom/z", "10.0.9.9"), "A twin.example.net", "240.240.1.2"],
  ["F-189", "what only its namespace sees is nothing to others", alice, "A hidden.example.net", "pass"],
  ["F-189", "and something to its own", bob, "A hidden.example.net", "240.240.1.4"],
  ["F-189", "among equals the smaller key", alice, "A rivals.example.net", "240.240.2.1"],
];

describe("a captured pod's question", () => {
  for (const [row, sentence, client, asked, expected] of rows) {
    test(`${row} ${sentence}: ${asked}`, () => {
      assert.equal(told(ask(client, asked)), expected);
    });
  }

  test("F-186 every type but A and AAAA passes, whoever owns the name", () => {
    for (let type = 0; type <= 65_535; type++) {
      if (type === 1 || type === 28) continue;
      const facts = { client: alice, name: "cart.shop.svc.cluster.local", type, random: seededRandom(1) };
      assert.equal(decideDns(mesh, facts, settings).kind, "pass");
    }
  });

  test("F-191 where nothing else tells services apart, the preferred namespace does", () => {
    const preferring = { ...settings, preferredNamespace: "c" };
    assert.equal(told(ask(alice, "A rivals.example.net", preferring)), "240.240.2.3");
    assert.equal(told(ask(alice, "A twin.example.net", { ...settings, preferredNamespace: "zoo" })), "240.240.1.1");
    const stranger = pod("zoom/z", "10.0.9.9");
    assert.equal(
      told(ask(stranger, "A twin.example.net", { ...settings, preferredNamespace: "zoo" })),
      "240.240.1.2",
      "the canonical one stands before it",
    );
  });

  test("F-017 F-185 with IPv6 switched off nobody is given an IPv6 address, and the name is there all the same", () => {
    const off = { ...settings, ipv6: false };
    assert.equal(told(ask(alice, "AAAA dual.shop.svc.cluster.local", off)), "");
    assert.equal(told(ask(alice, "A dual.shop.svc.cluster.local", off)), "10.96.0.3");
  });

  test("F-181 the cluster's domain can be another", () => {
    const here = { ...settings, clusterDomain: "mesh.example" };
    const other = new MeshState();
    other.apply({
      services: [{ ...cart, key: "shop/cart.shop.svc.mesh.example", hostname: "cart.shop.svc.mesh.example" }],
    });
    const facts = { client: alice, name: "cart", type: 1, random: seededRandom(1) };
    assert.equal(told(decideDns(other, facts, here)), "10.96.0.1");
    assert.equal(told(decideDns(other, facts, settings)), "pass");
  });

  test("F-183 a headless service that publishes unready endpoints tells of them", () => {
    const state = new MeshState();
    const ready = service("shop/db", "", [web], {
      loadBalancing: { mode: "any", preferences: [], allowUnhealthy: true },
    });
    state.apply({ services: [ready], workloads: endpoints });
    const facts = { client: alice, name: ready.hostname, type: 1, random: seededRandom(1) };
    assert.equal(told(decideDns(state, facts, settings)), "10.0.1.0 10.0.1.1 10.0.1.2");
  });

  test("F-183 every order of a headless service's addresses is given, none is favoured", () => {
    const random = seededRandom(7);
    const firsts = new Map<string, number>();
    for (let i = 0; i < 1_000; i++) {
      const decision = decideDns(mesh, { client: alice, name: db.hostname, type: 1, random }, settings);
      assert.ok(decision.kind === "answer");
      const first = decision.addresses[0] ?? "";
      firsts.set(first, (firsts.get(first) ?? 0) + 1);
    }
    for (const [address, times] of firsts) assert.ok(times > 400, `${address} came first ${times} times`);
    assert.equal(firsts.size, 2);
  });

  test("F-186 whatever is asked, only addresses of known services are answered, and of the type that was asked for", () => {
    const label = fc.constantFrom("cart", "shop", "svc", "cluster", "local", "api", "example", "com", "db", "x", "*");
    const known = new Set([...mesh.services()].flatMap(({ vips }) => vips.map(({ address }) => address)));
    for (const { addresses } of endpoints) for (const address of addresses) known.add(address);
    fc.assert(
      fc.property(fc.array(label, { minLength: 1, maxLength: 9 }), fc.constantFrom(1, 28), (labels, type) => {
        const facts = { client: alice, name: labels.join("."), type, random: seededRandom(1) };
        const decision = decideDns(mesh, facts, settings);
        if (decision.kind === "pass") return;
        for (const address of decision.addresses) {
          assert.ok(known.has(address));
          assert.equal(address.includes(":"), type === 28);
        }
        if (decision.canonical !== undefined) assert.ok(facts.name.startsWith(`${decision.canonical}.`));
      }),
      { numRuns: 3_000 },
    );
  });
});

const settings: DnsSettings = { clusterDomain: "cluster.local", ipv6: true };

function ask(client: MeshWorkload, asked: string, how = settings): DnsDecision {
  const [type = "", name = ""] = asked.split(" ");
  return decideDns(mesh, { client, name, type: type === "A" ? 1 : 28, random: seededRandom(1) }, how);
}

/** `canonical: addresses`, in order of the addresses' text. */
function told(decision: DnsDecision): string {
  if (decision.kind === "pass") return "pass";
  const { canonical, addresses } = decision;
  return `${canonical === undefined ? "" : `${canonical}: `}${[...addresses].sort().join(" ")}`;
}

function named(namespace: string, name: string): { key: string; name: string; hostname: string } {
  const hostname = `${name}.${namespace}.svc.cluster.local`;
  return { key: `${namespace}/${hostname}`, name, hostname };
}

/** What a ServiceEntry becomes. */
function entry(namespace: string, hostname: string, vip: string, more: object = {}): ReturnType<typeof service> {
  return service(`${namespace}/entry`, vip, [web], { key: `${namespace}/${hostname}`, hostname, ...more });
}
