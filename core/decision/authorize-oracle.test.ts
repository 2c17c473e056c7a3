import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { judge } from "../../test/oracles/authorize.ts";
import { cidr, pod } from "../../test/support/mesh.ts";
import type { Policy, StringMatch } from "../protocol/wds/authorization.ts";
import { authorize } from "./authorize.ts";
import { MeshState } from "./mesh-state.ts";

const cart = pod("shop/cart", "10.1.0.5");
const verdicts = {
  POLICY_UNKNOWN: "unknown-policy",
  NO_POLICIES: "no policies",
  POLICY_DENIED: "denied",
  POLICY_MTLS_REQUIRED: "denied",
  POLICY_NOT_ALLOWED: "not-allowed",
} as const;

describe("any policies", () => {
  const words = ["shop", "other", "front", "cart", "x", ""];
  const word = fc.constantFrom(...words);
  const principal = fc.tuple(word, word).map(([namespace, account]) => `cluster.local/ns/${namespace}/sa/${account}`);
  const text = (value: fc.Arbitrary<string>): fc.Arbitrary<StringMatch> =>
    fc.oneof(
      { weight: 4, arbitrary: value.map((one) => ({ kind: "exact" as const, value: one })) },
      value.map((one) => ({ kind: "prefix" as const, value: one.slice(0, -2) })),
      value.map((one) => ({ kind: "suffix" as const, value: one.slice(2) })),
      fc.constant({ kind: "presence" as const }),
    );
  const few = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
    fc.oneof({ weight: 4, arbitrary: fc.constant<T[]>([]) }, fc.array(item, { maxLength: 2 }));
  const prefixes = few(fc.constantFrom("10.1.0.0/16", "10.1.0.9/32", "0.0.0.0/0", "fd00::/16", "::/0").map(cidr));
  const ports = few(fc.constantFrom(80, 8080));
  const accounts = few(fc.record({ namespace: word, serviceAccount: word }));
  const anyMatch = fc.record({
    namespaces: few(text(word)),
    notNamespaces: few(text(word)),
    principals: few(text(principal)),
    notPrincipals: few(text(principal)),
    sourceIps: prefixes,
    notSourceIps: prefixes,
    destinationIps: prefixes,
    notDestinationIps: prefixes,
    destinationPorts: ports,
    notDestinationPorts: ports,
    serviceAccounts: accounts,
    notServiceAccounts: accounts,
  });
  const anyRule = fc.record({
    clauses: fc.array(fc.record({ matches: fc.array(anyMatch, { maxLength: 2 }) }), { maxLength: 3 }),
  });
  const anyPolicy = fc
    .record({
      namespace: fc.constantFrom("shop", "other", "root"),
      name: fc.constantFrom("a", "b", "c"),
      scope: fc.constantFrom("global" as const, "namespace" as const, "selector" as const),
      action: fc.constantFrom("allow" as const, "deny" as const),
      dryRun: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, fc.constant(true)),
      rules: fc.array(anyRule, { maxLength: 3 }),
    })
    .map(({ name, ...rest }): Policy => ({ key: `${rest.namespace}/${name}`, ...rest }));
  const anyPeer = fc.option(
    fc.record({ trustDomain: fc.constant("cluster.local"), namespace: word, serviceAccount: word }),
    {
      nil: undefined,
    },
  );

  test("F-160 F-161 F-163 F-164 F-165 F-166 F-167 F-168 F-169 F-170 are judged as the plain reading of the rules judges them", () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(
        fc.uniqueArray(anyPolicy, { selector: ({ key }) => key, maxLength: 6 }),
        fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.constant(true)),
        fc.subarray(["shop/a", "shop/b", "root/c"]),
        anyPeer,
        fc.constantFrom("10.1.0.9", "10.2.0.1", "fd00::9"),
        fc.constantFrom(80, 8080),
        (policies, mayListUnknown, listed, peer, peerAddress, port) => {
          const known = listed.filter((key) => mayListUnknown || policies.some((one) => one.key === key));
          const workload = { ...cart, policies: known };
          const destination = { address: "10.1.0.5", port };
          const state = new MeshState();
          state.apply({ workloads: [workload], policies });
          const facts = { local: workload, ...(peer && { peerIdentity: peer }), peerAddress, destination };
          const actual = authorize(state, facts);
          const expected = judge(policies, { workload, peer, peerAddress, destination });
          seen.set(expected.verdict, (seen.get(expected.verdict) ?? 0) + 1);
          assert.equal(actual.allowed, expected.verdict === "allowed");
          if (expected.verdict === "not-allowed") assert.equal(actual.policy, undefined);
          else if (expected.policies.length === 0) assert.equal(actual.policy, undefined);
          else assert.ok(expected.policies.includes(actual.policy ?? ""), actual.policy);
          if (!actual.allowed) {
            assert.equal(verdicts[actual.reason], expected.verdict);
          }
        },
      ),
      { numRuns: 3_000 },
    );
    for (const verdict of ["unknown-policy", "denied", "not-allowed", "allowed"]) {
      assert.ok((seen.get(verdict) ?? 0) > 50, `too few cases of ${verdict}: ${seen.get(verdict)}`);
    }
  });
});
