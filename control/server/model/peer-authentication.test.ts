import assert from "node:assert/strict";
import { test } from "node:test";
import { Authorization, Action, Scope } from "../../../core/protocol/generated/security.ts";
import { Address } from "../../../core/protocol/generated/workload.ts";
import { parseObject } from "../../sources/object-parsers.ts";
import type { KubeObject } from "../../sources/objects.ts";
import { Model } from "./model.ts";
import { addressTypeUrl, authorizationTypeUrl } from "./resources.ts";

const strict = "istio-system/istio_converted_static_strict";
const byPort = "shop/converted_peer_authentication_own";

test("what a workload lists follows from mesh, namespace, its own mode and its ports", () => {
  type Mode = string | undefined;
  const cases: [mesh: Mode, namespace: Mode, own: Mode, ports: Record<number, string>, lists: string | undefined][] = [
    [undefined, undefined, undefined, {}, undefined],
    ["STRICT", undefined, undefined, {}, strict],
    ["STRICT", "UNSET", undefined, {}, strict],
    ["STRICT", "PERMISSIVE", undefined, {}, undefined],
    ["PERMISSIVE", "STRICT", undefined, {}, strict],
    [undefined, "STRICT", "PERMISSIVE", {}, undefined],
    [undefined, "STRICT", "DISABLE", {}, undefined],
    [undefined, "PERMISSIVE", "STRICT", {}, strict],
    // A strict workload with exceptions, explicit and inherited.
    [undefined, undefined, "STRICT", { 80: "STRICT" }, strict],
    [undefined, undefined, "STRICT", { 80: "PERMISSIVE" }, byPort],
    [undefined, undefined, "STRICT", { 80: "DISABLE" }, byPort],
    [undefined, "STRICT", "UNSET", { 80: "PERMISSIVE" }, byPort],
    ["STRICT", undefined, "UNSET", { 80: "DISABLE" }, byPort],
    [undefined, "STRICT", "UNSET", { 80: "STRICT" }, strict],
    [undefined, "STRICT", "UNSET", { 80: "UNSET" }, strict],
    // A permissive workload with strict ports.
    [undefined, "STRICT", "PERMISSIVE", { 80: "STRICT" }, byPort],
    [undefined, undefined, "UNSET", { 80: "STRICT" }, byPort],
    [undefined, undefined, "PERMISSIVE", { 80: "PERMISSIVE" }, undefined],
  ];
  for (const [mesh, namespace, own, ports, lists] of cases) {
    const model = new Model();
    model.apply(
      [
        mesh && peer("istio-system", "mesh", mesh),
        namespace && peer("shop", "all", namespace),
        own && peer("shop", "own", own, ports),
        pod("cart"),
      ].flatMap((object) => (object ? { op: "put" as const, object } : [])),
    );
    const what = JSON.stringify({ mesh, namespace, own, ports });
    assert.deepEqual(policiesOf(model, "cart"), lists === undefined ? [] : [lists], what);
    // Whatever is listed is there.
    if (lists !== undefined) assert.ok(model.resources(authorizationTypeUrl).has(lists), what);
    assert.equal(model.resources(authorizationTypeUrl).has(byPort), lists === byPort, what);
  }
});

test("exempt ports are exceptions inside one denial, guarded ports are denials of their own", () => {
  const rules = (own: string, ports: Record<number, string>) => {
    const model = new Model();
    model.apply([{ op: "put", object: peer("shop", "own", own, ports) }]);
    const policy = Authorization.decode(model.resources(authorizationTypeUrl).get(byPort)!.bytes);
    assert.equal(policy.action, Action.DENY);
    assert.equal(policy.scope, Scope.WORKLOAD_SELECTOR);
    return policy.rules.map(({ clauses }) =>
      clauses.map(({ matches: [match] }) => ({
        anonymous: match?.notPrincipals.map(({ matchType }) => matchType?.$case),
        ports: match?.destinationPorts,
        notPorts: match?.notDestinationPorts,
      })),
    );
  };
  const anonymous = ["presence"];
  assert.deepEqual(rules("STRICT", { 81: "DISABLE", 80: "PERMISSIVE", 443: "STRICT" }), [
    [
      { anonymous, ports: [], notPorts: [] },
      { anonymous: [], ports: [], notPorts: [80] },
      { anonymous: [], ports: [], notPorts: [81] },
    ],
  ]);
  assert.deepEqual(rules("PERMISSIVE", { 443: "STRICT", 80: "STRICT", 81: "DISABLE" }), [
    [{ anonymous, ports: [80], notPorts: [] }],
    [{ anonymous, ports: [443], notPorts: [] }],
  ]);
});

test("the oldest of several decides, and a selector in the root namespace selects nobody", () => {
  const model = new Model();
  model.apply(
    [
      peer("shop", "younger", "PERMISSIVE", undefined, "2026-01-02T00:00:00Z"),
      peer("shop", "older", "STRICT", undefined, "2026-01-01T00:00:00Z"),
      peer("istio-system", "own", "PERMISSIVE", {}),
      pod("cart"),
    ].map((object) => ({ op: "put" as const, object })),
  );
  assert.deepEqual(policiesOf(model, "cart"), [strict]);
});

test("a pod without labels is selected by nothing, but its namespace still counts", () => {
  const model = new Model();
  model.apply([peer("shop", "own", "STRICT", {}), pod("bare", {})].map((object) => ({ op: "put" as const, object })));
  assert.deepEqual(policiesOf(model, "bare"), []);
  model.apply([{ op: "put", object: peer("shop", "all", "STRICT") }]);
  assert.deepEqual(policiesOf(model, "bare"), [strict]);
});

function policiesOf(model: Model, name: string): string[] {
  const bytes = model.resources(addressTypeUrl).get(`Kubernetes//Pod/shop/${name}`)?.bytes;
  assert.ok(bytes);
  const { type } = Address.decode(bytes);
  assert.ok(type?.$case === "workload");
  return type.value.authorizationPolicies;
}

/** With ports, even none, it selects the app `cart`. */
function peer(
  namespace: string,
  name: string,
  mode: string,
  ports?: Record<number, string>,
  creationTimestamp = "2026-01-01T00:00:00Z",
): KubeObject {
  const portLevelMtls = Object.fromEntries(Object.entries(ports ?? {}).map(([port, of]) => [port, { mode: of }]));
  const selecting = ports === undefined ? {} : { selector: { matchLabels: { app: "cart" } }, portLevelMtls };
  return parse({
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { namespace, name, creationTimestamp },
    spec: { mtls: { mode }, ...selecting },
  });
}

function pod(name: string, labels: object = { app: "cart" }): KubeObject {
  const metadata = { namespace: "shop", name, labels };
  return parse({ apiVersion: "v1", kind: "Pod", metadata, status: { podIP: "10.0.0.1" } });
}

function parse(document: object): KubeObject {
  const parsed = parseObject(document);
  assert.ok(parsed.result === "object", JSON.stringify(parsed));
  return parsed.object;
}
