import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Identity } from "../protocol/spiffe/identity.ts";
import type { Match, Policy, Rule } from "../protocol/wds/authorization.ts";
import { authorize, type Authorization } from "./authorize.ts";
import { cidr, match, pod, policy, ruleOf } from "../../test/support/mesh.ts";
import { MeshState, type MeshUpdate } from "./mesh-state.ts";

const cart = pod("shop/cart", "10.1.0.5");
const front: Identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "front" };
const stranger: Identity = { trustDomain: "cluster.local", namespace: "other", serviceAccount: "front" };
const principalOfFront = "cluster.local/ns/shop/sa/front";

interface Ask {
  readonly peer?: Identity | undefined;
  readonly from?: string;
  readonly port?: number;
}

function ask(update: MeshUpdate, { peer, from = "10.1.0.9", port = 8080 }: Ask = {}): Authorization {
  const state = new MeshState();
  state.apply({ workloads: [cart], ...update });
  return authorize(state, {
    local: update.workloads?.[0] ?? cart,
    ...(peer && { peerIdentity: peer }),
    peerAddress: from,
    destination: { address: "10.1.0.5", port },
  });
}

function isAllowed(rules: Rule[], action: Policy["action"], asked: Ask): boolean {
  return ask({ policies: [policy("shop/p", { action, rules })] }, asked).allowed;
}

describe("the truth table of policy edges (no rule, no clause, no match, no field, no identity)", () => {
  const fieldless: Rule = { clauses: [{ matches: [match({})] }] };
  // [content, does it match, rules, peer]
  const rows: [string, boolean, Rule[], Identity | undefined][] = [
    ["no rules", false, [], front],
    ["a rule with no clauses", true, [{ clauses: [] }], front],
    ["a clause with no matches", true, [{ clauses: [{ matches: [] }] }], front],
    ["a clause with only field-less matches", false, [fieldless], front],
    [
      "a field-less match beside one that fits",
      true,
      [{ clauses: [{ matches: [match({}), match({ destinationPorts: [8080] })] }] }],
      front,
    ],
    [
      "not_principals presence, peer without identity",
      true,
      [ruleOf({ notPrincipals: [{ kind: "presence" }] })],
      undefined,
    ],
    ["not_principals presence, peer with identity", false, [ruleOf({ notPrincipals: [{ kind: "presence" }] })], front],
    ["principals presence, peer without identity", false, [ruleOf({ principals: [{ kind: "presence" }] })], undefined],
    ["principals presence, peer with identity", true, [ruleOf({ principals: [{ kind: "presence" }] })], front],
    [
      "not_namespaces x, peer without identity",
      true,
      [ruleOf({ notNamespaces: [{ kind: "exact", value: "x" }] })],
      undefined,
    ],
    [
      "namespaces empty, peer without identity",
      true,
      [ruleOf({ namespaces: [{ kind: "exact", value: "" }] })],
      undefined,
    ],
    ["namespaces presence, peer without identity", false, [ruleOf({ namespaces: [{ kind: "presence" }] })], undefined],
  ];
  for (const [content, matches, rules, peer] of rows) {
    test(`F-170 ${content} ${matches ? "matches" : "matches nothing"}`, () => {
      assert.equal(isAllowed(rules, "allow", { peer }), matches);
      assert.equal(isAllowed(rules, "deny", { peer }), !matches);
    });
  }
});

describe("attributes", () => {
  const rows: [string, Partial<Match>, Ask, Ask][] = [
    [
      "F-163 principals",
      { principals: [{ kind: "exact", value: principalOfFront }] },
      { peer: front },
      { peer: stranger },
    ],
    [
      "F-163 not_principals",
      { notPrincipals: [{ kind: "exact", value: principalOfFront }] },
      { peer: stranger },
      { peer: front },
    ],
    ["F-164 namespaces", { namespaces: [{ kind: "exact", value: "shop" }] }, { peer: front }, { peer: stranger }],
    [
      "F-164 not_namespaces",
      { notNamespaces: [{ kind: "exact", value: "shop" }] },
      { peer: stranger },
      { peer: front },
    ],
    [
      "F-165 service_accounts",
      { serviceAccounts: [{ namespace: "shop", serviceAccount: "front" }] },
      { peer: front },
      { peer: stranger },
    ],
    [
      "F-165 not_service_accounts",
      { notServiceAccounts: [{ namespace: "shop", serviceAccount: "front" }] },
      { peer: stranger },
      { peer: front },
    ],
    [
      "F-165 service_accounts need an identity",
      { serviceAccounts: [{ namespace: "shop", serviceAccount: "front" }] },
      { peer: front },
      {},
    ],
    ["F-166 source_ips", { sourceIps: [cidr("10.1.0.0/16")] }, { from: "10.1.9.9" }, { from: "10.2.0.1" }],
    ["F-166 source_ips of IPv6", { sourceIps: [cidr("fd00:1::/32")] }, { from: "fd00:1::9" }, { from: "fd00:2::9" }],
    [
      "F-166 source_ips never fit the other family",
      { sourceIps: [cidr("0.0.0.0/0")] },
      { from: "9.9.9.9" },
      { from: "fd00::1" },
    ],
    ["F-166 not_source_ips", { notSourceIps: [cidr("10.1.0.0/16")] }, { from: "10.2.0.1" }, { from: "10.1.9.9" }],
    ["F-168 destination_ports", { destinationPorts: [8080, 8081] }, { port: 8081 }, { port: 9090 }],
    ["F-168 not_destination_ports", { notDestinationPorts: [9090] }, { port: 8081 }, { port: 9090 }],
    [
      "F-169 prefix",
      { principals: [{ kind: "prefix", value: "cluster.local/ns/shop/" }] },
      { peer: front },
      { peer: stranger },
    ],
    ["F-169 exact", { namespaces: [{ kind: "exact", value: "shop" }] }, { peer: front }, { peer: stranger }],
    ["F-169 presence", { principals: [{ kind: "presence" }] }, { peer: front }, {}],
    ["F-169 suffix", { namespaces: [{ kind: "suffix", value: "op" }] }, { peer: front }, { peer: stranger }],
  ];
  for (const [name, fields, fitting, other] of rows) {
    test(`${name} fit what they name and nothing else`, () => {
      assert.equal(isAllowed([ruleOf(fields)], "allow", fitting), true);
      assert.equal(isAllowed([ruleOf(fields)], "allow", other), false);
    });
  }

  test("F-167 destination_ips are compared with the pod's own address", () => {
    assert.equal(isAllowed([ruleOf({ destinationIps: [cidr("10.1.0.5/32")] })], "allow", {}), true);
    assert.equal(isAllowed([ruleOf({ notDestinationIps: [cidr("10.1.0.5/32")] })], "allow", {}), false);
  });

  test("H047 names with dots, stars and brackets are compared literally", () => {
    const odd: Identity = { ...front, namespace: "s.op" };
    for (const value of ["s.op", "s*", "[s]hop", "shop*"]) {
      const rules = [ruleOf({ namespaces: [{ kind: "exact", value }] })];
      assert.equal(isAllowed(rules, "allow", { peer: front }), false, value);
      assert.equal(isAllowed(rules, "allow", { peer: odd }), value === "s.op", value);
    }
  });

  test("F-170 clauses are all needed, matches within one are alternatives", () => {
    const rules: Rule[] = [
      {
        clauses: [
          { matches: [match({ destinationPorts: [8080] }), match({ destinationPorts: [8081] })] },
          { matches: [match({ principals: [{ kind: "exact", value: principalOfFront }] })] },
        ],
      },
    ];
    assert.equal(isAllowed(rules, "allow", { peer: front, port: 8080 }), true);
    assert.equal(isAllowed(rules, "allow", { peer: front, port: 8081 }), true);
    assert.equal(isAllowed(rules, "allow", { peer: front, port: 8082 }), false);
    assert.equal(isAllowed(rules, "allow", { peer: stranger, port: 8080 }), false);
  });
});

describe("the decision", () => {
  const everybody = [{ clauses: [] }];

  test("F-161 without ALLOW policies everybody is admitted", () => {
    assert.deepEqual(ask({}), { allowed: true, trace: [{ code: "policies-judged", judged: 0, allowPolicies: 0 }] });
  });

  test("F-161 a DENY wins over an ALLOW, and F-174 is named", () => {
    const answer = ask({
      policies: [
        policy("shop/let-in", { rules: everybody }),
        policy("shop/keep-out", { action: "deny", rules: everybody }),
      ],
    });
    assert.equal(answer.allowed, false);
    assert.deepEqual(
      { ...answer, trace: [] },
      { allowed: false, reason: "POLICY_DENIED", policy: "shop/keep-out", trace: [] },
    );
  });

  test("F-161 an ALLOW that does not fit refuses", () => {
    const answer = ask({ policies: [policy("shop/nobody", {})] });
    assert.deepEqual({ ...answer, trace: [] }, { allowed: false, reason: "POLICY_NOT_ALLOWED", trace: [] });
  });

  test("F-160 policies reach as far as their scope", () => {
    const deny = { action: "deny", rules: everybody } as const;
    const refusal = (key: string, more: Partial<Policy>, listed: string[] = []): boolean =>
      !ask({ workloads: [{ ...cart, policies: listed }], policies: [policy(key, { ...deny, ...more })] }).allowed;
    assert.equal(refusal("root/p", { scope: "global" }), true);
    assert.equal(refusal("shop/p", { scope: "namespace" }), true);
    assert.equal(refusal("other/p", { scope: "namespace" }), false);
    assert.equal(refusal("shop/p", { scope: "selector" }), false);
    assert.equal(refusal("shop/p", { scope: "selector" }, ["shop/p"]), true);
    assert.equal(
      refusal("root/p", { scope: "selector" }, ["root/p"]),
      true,
      "a converted policy lives in the root namespace",
    );
  });

  test("F-162 a dry-run policy is told, not enforced", () => {
    const answer = ask({ policies: [policy("shop/would-deny", { action: "deny", dryRun: true, rules: everybody })] });
    assert.equal(answer.allowed, true);
    assert.deepEqual(answer.trace[0], { code: "dry-run", policy: "shop/would-deny", verdict: "deny" });
  });

  test("F-162 each dry-run policy that fits is told, whatever others say, and none that does not", () => {
    const answer = ask(
      {
        policies: [
          policy("shop/a", { action: "deny", dryRun: true, rules: everybody }),
          policy("shop/b", {
            dryRun: true,
            rules: [ruleOf({ principals: [{ kind: "exact", value: principalOfFront }] })],
          }),
          policy("shop/c", { dryRun: true, rules: [ruleOf({ destinationPorts: [1] })] }),
          policy("shop/real", { action: "deny", rules: everybody }),
        ],
      },
      { peer: front },
    );
    const told = answer.trace.flatMap((step) => (step.code === "dry-run" ? [`${step.policy} ${step.verdict}`] : []));
    assert.deepEqual(told.sort(), ["shop/a deny", "shop/b allow"]);
    assert.equal(answer.policy, "shop/real");
  });

  test("F-162 a dry-run ALLOW does not close the door to others", () => {
    assert.equal(ask({ policies: [policy("shop/p", { dryRun: true })] }).allowed, true);
  });

  test("F-172 H035 a converted STRICT policy refuses plaintext as lacking mutual TLS", () => {
    const strict = policy("istio-system/istio_converted_static_strict", {
      scope: "selector",
      action: "deny",
      rules: [ruleOf({ notPrincipals: [{ kind: "presence" }] })],
    });
    const update = { workloads: [{ ...cart, policies: [strict.key] }], policies: [strict] };
    const answer = ask(update);
    assert.equal(!answer.allowed && answer.reason, "POLICY_MTLS_REQUIRED");
    assert.equal(ask(update, { peer: stranger }).allowed, true);
  });

  test("F-172 port exceptions of a STRICT policy leave their ports open", () => {
    const strict = policy("shop/converted_peer_authentication_ports", {
      scope: "selector",
      action: "deny",
      rules: [ruleOf({ notPrincipals: [{ kind: "presence" }] }, { notDestinationPorts: [9901] })],
    });
    const update = { workloads: [{ ...cart, policies: [strict.key] }], policies: [strict] };
    assert.equal(ask(update, { port: 9901 }).allowed, true);
    const answer = ask(update, { port: 8080 });
    assert.equal(!answer.allowed && answer.reason, "POLICY_MTLS_REQUIRED");
  });

  test("H070 a workload that lists an unknown policy is refused, and the policy named", () => {
    const update = {
      workloads: [{ ...cart, policies: ["shop/known", "shop/missing"] }],
      policies: [policy("shop/known", { scope: "selector", rules: everybody })],
    };
    const answer = ask(update, { peer: front });
    assert.deepEqual(
      { ...answer, trace: [] },
      { allowed: false, reason: "POLICY_UNKNOWN", policy: "shop/missing", trace: [] },
    );
  });

  test("H070 while policies are still to come everybody is refused, whatever is there already", () => {
    const state = new MeshState({ awaitsPolicies: true });
    state.apply({ workloads: [cart], policies: [policy("shop/all", { rules: [{ clauses: [] }] })] });
    const facts = {
      local: cart,
      peerIdentity: front,
      peerAddress: "10.1.0.9",
      destination: { address: "10.1.0.5", port: 8080 },
    };
    const early = authorize(state, facts);
    assert.deepEqual([early.allowed, !early.allowed && early.reason], [false, "NO_POLICIES"]);
    state.apply({ policiesComplete: true });
    assert.equal(authorize(state, facts).allowed, true);
    state.apply({ removed: { policies: ["shop/all"] } });
    assert.equal(authorize(state, facts).allowed, true, "for good");
  });

  test("a listed policy that control takes back is gone, until the workload is heard of again", () => {
    const state = new MeshState();
    const listing = { ...cart, policies: ["shop/p"] };
    const facts = { local: listing, peerAddress: "10.1.0.9", destination: { address: "10.1.0.5", port: 80 } };
    state.apply({ workloads: [listing], policies: [policy("shop/p", { scope: "selector" })] });
    assert.equal(authorize(state, facts).allowed, false);
    state.apply({ removed: { policies: ["shop/p"] } });
    assert.equal(authorize(state, facts).allowed, true);
    state.apply({ workloads: [{ ...listing }] });
    const answer = authorize(state, facts);
    assert.equal(!answer.allowed && answer.reason, "POLICY_UNKNOWN");
  });

  test("H071 the newest word about the workload counts, not the copy taken at accept", () => {
    const state = new MeshState();
    state.apply({ workloads: [cart], policies: [policy("shop/p", { scope: "selector" })] });
    const facts = { local: cart, peerAddress: "10.1.0.9", destination: { address: "10.1.0.5", port: 80 } };
    assert.equal(authorize(state, facts).allowed, true);
    state.apply({ workloads: [{ ...cart, policies: ["shop/p"] }] });
    assert.equal(authorize(state, facts).allowed, false);
    state.apply({ removed: { addresses: [cart.uid] } });
    assert.equal(authorize(state, facts).allowed, true, "an unknown workload is judged by the copy");
  });
});

test("a workload that control no longer knows is judged by the copy and the policies of now", () => {
  const state = new MeshState();
  const listing = { ...cart, policies: ["shop/p"] };
  const facts = { local: listing, peerAddress: "10.1.0.9", destination: { address: "10.1.0.5", port: 80 } };
  state.apply({ workloads: [listing], policies: [policy("shop/p", { scope: "selector", rules: [{ clauses: [] }] })] });
  state.apply({ removed: { addresses: [listing.uid] } });
  assert.equal(authorize(state, facts).allowed, true);
  state.apply({ policies: [policy("shop/p", { scope: "selector" })] });
  assert.equal(authorize(state, facts).allowed, false);
});

describe("10,000 policies cost a connection nothing that can be counted", () => {
  const many = Array.from({ length: 10_000 }, (_, at) =>
    policy(`shop/p${at}`, {
      scope: at % 2 ? "namespace" : "selector",
      action: at % 3 ? "allow" : "deny",
      rules: [
        ruleOf(
          { principals: [{ kind: "exact", value: `cluster.local/ns/n${at}/sa/a` }] },
          { destinationPorts: [8080] },
        ),
      ],
    }),
  );
  const judgedBy = (answer: Authorization): number => {
    const step = answer.trace.find((one) => one.code === "policies-judged");
    return step?.code === "policies-judged" ? step.judged : NaN;
  };

  test("F-160 those of other namespaces and workloads are not looked at", () => {
    const elsewhere = many.map((one) => ({
      ...one,
      namespace: "elsewhere",
      key: one.key.replace("shop", "elsewhere"),
    }));
    assert.equal(judgedBy(ask({ policies: elsewhere }, { peer: front })), 0);
  });

  for (const scope of ["global", "namespace"] as const) {
    for (const attribute of ["principals", "namespaces", "serviceAccounts"] as const) {
      test(`F-160 ${scope} ones that name other ${attribute} are not looked at, and the one that fits once`, () => {
        const naming = (at: number): Partial<Match> =>
          attribute === "principals"
            ? { principals: [{ kind: "exact", value: `cluster.local/ns/n${at}/sa/a` }] }
            : attribute === "namespaces"
              ? { namespaces: [{ kind: "exact", value: `n${at}` }] }
              : { serviceAccounts: [{ namespace: `n${at}`, serviceAccount: "a" }] };
        for (const dryRun of [false, true]) {
          const policies = many.map((one, at) => ({ ...one, scope, dryRun, rules: [ruleOf(naming(at))] }));
          assert.equal(judgedBy(ask({ policies }, { peer: front })), 0);
          const peer = { trustDomain: "cluster.local", namespace: "n4444", serviceAccount: "a" };
          assert.equal(judgedBy(ask({ policies }, { peer })), 1);
        }
      });
    }
  }

  test("F-168 those that name other ports are not looked at either", () => {
    const policies = many.map((one, at) => ({
      ...one,
      scope: "global" as const,
      rules: [ruleOf({ destinationPorts: [10_000 + at] })],
    }));
    assert.equal(judgedBy(ask({ policies }, { peer: front, port: 8080 })), 0);
    assert.equal(judgedBy(ask({ policies }, { peer: front, port: 14_444 })), 1);
  });

  test("those that name neither callers nor ports exactly are all looked at, and the trace says so", () => {
    const loose: Partial<Match>[] = [
      { principals: [{ kind: "prefix", value: "cluster.local/ns/nobody/" }] },
      { notPrincipals: [{ kind: "presence" }] },
      { sourceIps: [cidr("192.0.2.0/24")] },
    ];
    for (const one of loose) {
      const policies = many.map((each) => ({
        ...each,
        scope: "namespace" as const,
        action: "deny" as const,
        rules: [ruleOf(one)],
      }));
      assert.equal(judgedBy(ask({ policies }, { peer: front })), 10_000);
    }
  });

  test("F-160 those that all apply but name other callers are not looked at, and the one that names it is", () => {
    const listing = { ...cart, policies: many.filter((one) => one.scope === "selector").map((one) => one.key) };
    const update = { workloads: [listing], policies: many };
    assert.equal(judgedBy(ask(update, { peer: front })), 0);
    const named = ask(update, { peer: { trustDomain: "cluster.local", namespace: "n4444", serviceAccount: "a" } });
    assert.deepEqual([named.allowed, named.policy, judgedBy(named)], [true, "shop/p4444", 1]);
  });
});
