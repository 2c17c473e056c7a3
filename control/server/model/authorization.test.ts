import assert from "node:assert/strict";
import { test } from "node:test";
import { Action, Scope, type Match } from "../../../core/protocol/generated/security.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { AuthorizationPolicy } from "../../sources/objects.ts";
import { convertPolicy, isForAgents } from "./authorization.ts";
import { policyStatus } from "./status.ts";

test("each list of a rule is a clause: what is asked for, who asks, and every condition by itself", () => {
  const rules = convert({
    action: "DENY",
    rules: [
      {
        from: [
          { source: { principals: ["td/ns/a/sa/b"], notNamespaces: ["x*"] } },
          { source: { ipBlocks: ["10.0.0.0/8"] } },
        ],
        to: [{ operation: { ports: ["80"], notPorts: ["81"] } }],
        when: [
          { key: "source.principal", notValues: ["*"] },
          { key: "destination.ip", values: ["10.1.0.1"] },
          { key: "source.namespace", values: ["*-test"] },
          { key: "destination.port", values: ["1"], notValues: ["2"] },
          { key: "source.ip", notValues: ["fd00::/8"] },
        ],
      },
    ],
  });
  const fd00 = Buffer.from([0xfd, ...new Array<number>(15).fill(0)]);
  assert.deepEqual(rules, [
    [
      [{ destinationPorts: [80], notDestinationPorts: [81] }],
      [
        { principals: [{ $case: "exact", value: "td/ns/a/sa/b" }], notNamespaces: [{ $case: "prefix", value: "x" }] },
        { sourceIps: [{ address: Buffer.from([10, 0, 0, 0]), length: 8 }] },
      ],
      [{ notPrincipals: [{ $case: "presence", value: {} }] }],
      [{ destinationIps: [{ address: Buffer.from([10, 1, 0, 1]), length: 32 }] }],
      [{ namespaces: [{ $case: "suffix", value: "-test" }] }],
      [{ destinationPorts: [1], notDestinationPorts: [2] }],
      [{ notSourceIps: [{ address: fd00, length: 8 }] }],
    ],
  ]);
});

test("a service account without a namespace is one of the policy's own", () => {
  const rules = convert({ rules: [{ from: [{ source: { serviceAccounts: ["web", "vault/db"] } }] }] });
  assert.deepEqual(rules[0]?.[0]?.[0]?.["serviceAccounts"], [
    { namespace: "shop", serviceAccount: "web" },
    { namespace: "vault", serviceAccount: "db" },
  ]);
});

test("the scope follows selector and namespace", () => {
  const scope = (spec: object, namespace: string) =>
    convertPolicy(policy(spec, { namespace }), "istio-system").authorization?.scope;
  const selector = { matchLabels: { app: "a" } };
  assert.equal(scope({}, "shop"), Scope.NAMESPACE);
  assert.equal(scope({}, "istio-system"), Scope.GLOBAL);
  assert.equal(scope({ selector }, "shop"), Scope.WORKLOAD_SELECTOR);
  assert.equal(scope({ selector }, "istio-system"), Scope.WORKLOAD_SELECTOR);
  assert.equal(scope({ selector: {} }, "shop"), Scope.NAMESPACE);
});

test("a policy without rules matches nothing, an empty rule matches everything", () => {
  assert.deepEqual(convert({}), []);
  assert.deepEqual(convert({ rules: [{}] }), [[]]);
});

test("agents don't get policies for waypoints, dry runs, nor actions they lack", () => {
  const cases: [spec: object, metadata?: object][] = [
    [{ targetRefs: [{ kind: "Service", name: "a" }] }],
    [{ targetRef: { kind: "Gateway", group: "gateway.networking.k8s.io", name: "a" } }],
    [{ action: "AUDIT" }],
    [{ action: "CUSTOM", provider: { name: "x" } }],
    [{ action: "DENY" }, { annotations: { "istio.io/dry-run": "true" } }],
  ];
  for (const [spec, metadata] of cases) {
    const object = policy(spec, metadata);
    assert.equal(isForAgents(object), false);
    assert.equal(convertPolicy(object, "istio-system").authorization, undefined);
  }
});

test("an ALLOW loses every rule that speaks of HTTP, and so allows less", () => {
  const spec = {
    rules: [
      { to: [{ operation: { methods: ["GET"] } }] },
      { from: [{ source: { requestPrincipals: ["*"], principals: ["a"] } }] },
      { when: [{ key: "request.headers[x]", values: ["1"] }], to: [{ operation: { ports: ["80"] } }] },
      { to: [{ operation: { ports: ["81"] } }] },
    ],
  };
  assert.deepEqual(convert(spec), [[[{ destinationPorts: [81] }]]]);
  assert.deepEqual(convert({ rules: spec.rules.slice(0, 1) }), []);
  const { reservation } = convertPolicy(policy(spec), "istio-system");
  assert.deepEqual(reservation, {
    kind: "http",
    action: "ALLOW",
    attributes: ["methods", "request.headers[x]", "requestPrincipals"],
  });
});

test("a DENY loses what only HTTP can tell and denies the more: never less", () => {
  const from = [{ source: { principals: ["a"] } }];
  const who = [{ principals: [{ $case: "exact", value: "a" }] }];
  const cases: [rule: object, left: unknown][] = [
    // Beside an L4 field the entry just gets wider.
    [{ to: [{ operation: { methods: ["DELETE"], ports: ["70"] } }] }, [[{ destinationPorts: [70] }]]],
    // An entry with nothing left may match anybody: its clause goes, the others stay.
    [{ from, to: [{ operation: { paths: ["/admin"] } }] }, [who]],
    [{ from, to: [{ operation: { notPaths: ["/"] } }, { operation: { ports: ["70"] } }] }, [who]],
    [{ from, when: [{ key: "request.auth.claims[role]", notValues: ["admin"] }] }, [who]],
    // Nothing else to go by: everybody is denied.
    [{ to: [{ operation: { methods: ["DELETE"] } }] }, []],
  ];
  for (const [rule, left] of cases) assert.deepEqual(convert({ action: "DENY", rules: [rule] }), [left]);
});

test("a policy that never was understood denies everybody as a DENY and matches nobody as an ALLOW", () => {
  const never = (action: string) => convertPolicy(broken(action), "istio-system").authorization;
  assert.deepEqual(never("DENY")?.rules, [{ clauses: [] }]);
  assert.equal(never("DENY")?.action, Action.DENY);
  assert.deepEqual(never("ALLOW")?.rules, []);
  assert.equal(never("ALLOW")?.action, Action.ALLOW);
});

test("what is wrong with a policy, and what is in force instead, is on its status", () => {
  const said = (object: AuthorizationPolicy) =>
    policyStatus(object, convertPolicy(object, "istio-system")).conditions[0];
  assert.match(said(broken("DENY"))?.message ?? "", /spec.rules\[0\] must be an object.*it selects is denied/);
  assert.match(said(broken("ALLOW"))?.message ?? "", /matches nothing/);
  assert.equal(said(broken("DENY"))?.reason, "Invalid");
  const kept = { ...policy({ action: "DENY", rules: [{}] }), faults: broken("DENY").faults };
  assert.match(said(kept)?.message ?? "", /last good version stays in force/);
  const http = policy({ action: "DENY", rules: [{ to: [{ operation: { methods: ["GET"] } }] }] });
  assert.match(said(http)?.message ?? "", /\(methods\).*more is denied than written.*targetRefs/);
  assert.equal(said(policy({}))?.reason, "Accepted");
  assert.equal(said(policy({ targetRefs: [{ kind: "Service", name: "a" }] })), undefined);
});

/** Rules as clauses of matches, with only the fields that are set, and string matches without their wrapper. */
function convert(spec: object): Record<string, unknown>[][][] {
  const { authorization } = convertPolicy(policy(spec), "istio-system");
  assert.ok(authorization);
  return authorization.rules.map(({ clauses }) => clauses.map(({ matches }) => matches.map(brief)));
}

function brief(match: Match): Record<string, unknown> {
  const set = Object.entries(match).filter(([, values]) => Array.isArray(values) && values.length > 0);
  return Object.fromEntries(
    set.map(([field, values]) => [
      field,
      (values as unknown[]).map((value) =>
        typeof value === "object" && value !== null && "matchType" in value ? value.matchType : value,
      ),
    ]),
  );
}

function policy(spec: object, metadata: object = {}): AuthorizationPolicy {
  const parsed = parseObject(document(spec, metadata));
  assert.ok(parsed.result === "object" && parsed.object.kind === "AuthorizationPolicy", JSON.stringify(parsed));
  return parsed.object;
}

/** What stands in for a policy that never was good. */
function broken(action: string): AuthorizationPolicy {
  const parsed = parseObject(document({ action, rules: [null] }, {}));
  assert.ok(parsed.result === "faulty" && parsed.refusing?.kind === "AuthorizationPolicy");
  return parsed.refusing;
}

function document(spec: object, metadata: object): object {
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "gate", namespace: "shop", ...metadata },
    spec,
  };
}
