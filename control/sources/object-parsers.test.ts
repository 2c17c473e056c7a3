import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { parseIpBlock } from "./fields.ts";
import { parseObject, type Parsed } from "./object-parsers.ts";
import type { KubeObject } from "./objects.ts";
import { fieldPath } from "./source.ts";

const kinds = [
  ["v1", "Namespace"],
  ["v1", "Node"],
  ["v1", "ServiceAccount"],
  ["v1", "Pod"],
  ["v1", "Service"],
  ["discovery.k8s.io/v1", "EndpointSlice"],
  ["security.istio.io/v1", "AuthorizationPolicy"],
  ["security.istio.io/v1", "PeerAuthentication"],
  ["networking.istio.io/v1", "WorkloadEntry"],
  ["networking.istio.io/v1", "ServiceEntry"],
  ["gateway.networking.k8s.io/v1", "GatewayClass"],
  ["gateway.networking.k8s.io/v1", "Gateway"],
] as const;

test("every object a real cluster recorded is understood, or of a kind that is not ours", () => {
  const state = JSON.parse(
    readFileSync(new URL("../../test/vectors/scenario-a/state.json", import.meta.url), "utf8"),
  ) as { items: unknown[] };
  const results = new Map<string, number>();
  for (const item of state.items) {
    const parsed = parseObject(item);
    const what = parsed.result === "unknown-kind" ? parsed.kind : parsed.result;
    results.set(what, (results.get(what) ?? 0) + 1);
  }
  assert.deepEqual(Object.fromEntries(results), {
    object: state.items.length - 4,
    DestinationRule: 1,
    HTTPRoute: 1,
    RequestAuthentication: 1,
    VirtualService: 1,
  });
});

test("no document makes the parser throw", () => {
  const word = fc.constantFrom(
    ...["spec", "status", "rules", "from", "source", "ports", "selector", "matchLabels", "podIPs", "endpoints", "when"],
    ...["listeners", "mtls", "portLevelMtls", "hosts", "clusterIPs", "key", "values", "metadata", "name", "80"],
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ maxDepth: 6 }, fc.jsonValue(), fc.array(tie("tree")), fc.dictionary(word, tie("tree"))),
  }));
  fc.assert(
    fc.property(fc.constantFrom(...kinds), tree, tree, (kind, spec, status) => {
      const [apiVersion, name] = kind;
      const parsed = parseObject({ apiVersion, kind: name, metadata: { name: "a" }, spec, status });
      assert.notEqual(parsed.result, "unknown-kind");
      if (parsed.result === "faulty") assert.ok(parsed.faults.length > 0);
    }),
    { numRuns: 500 },
  );
});

test("every fault names its field", () => {
  const cases: [document: Record<string, unknown>, field: string, message: RegExp][] = [
    [pod({ podIPs: [{ ip: "10.0.0.300" }] }), "status.podIPs", /must be IP addresses, not "10.0.0.300"/],
    [pod({}, { hostNetwork: "yes" }), "spec.hostNetwork", /must be true or false, not the text "yes"/],
    [pod({}, { containers: {} }), "spec.containers", /must be a list, not an object/],
    [{ ...pod({}), metadata: { name: "Cart" } }, "metadata.name", /must be lower-case/],
    [{ ...pod({}), metadata: { name: "a", labels: { v: 1 } } }, "metadata.labels.v", /a string, not the number 1/],
    [{ ...pod({}), metadata: {} }, "metadata.name", /is required/],
    [service({ ports: [{ port: 0 }] }), "spec.ports[0].port", /from 1 to 65535, not "0"/],
    [service({ ports: [{ port: 1 }, { port: 2 }] }), "spec.ports[0].name", /required where there are several/],
    [service({ clusterIP: "ten" }), "spec.clusterIP", /must be an IP address or None/],
    [policy({ rules: [{ from: [{ source: {} }] }] }), "spec.rules[0].from[0].source.principals", /is required/],
    [policy({ rules: [{ to: [{ operation: { ports: ["http"] } }] }] }), operation("ports[0]"), /not "http"/],
    [policy({ rules: [{ to: [{ operation: { ports: ["80", "70000"] } }] }] }), operation("ports[1]"), /not "70000"/],
    [policy({ rules: [source({ ipBlocks: ["10.0.0.0/33"] })] }), sourceField("ipBlocks[0]"), /address or range/],
    [policy({ rules: [source({ principals: ["a*b"] })] }), sourceField("principals"), /one "\*"/],
    [policy({ rules: [source({ principals: ["*a*"] })] }), sourceField("principals"), /one "\*"/],
    [policy({ rules: [source({ principals: ["spiffe://td/x"] })] }), sourceField("principals"), /without spiffe/],
    [policy({ rules: [source({ namespaces: [""] })] }), sourceField("namespaces"), /empty string/],
    [policy({ rules: [source({ serviceAccounts: ["*"] })] }), sourceField("serviceAccounts"), /service account/],
    [policy({ rules: [source({ principal: ["a"] })] }), sourceField("principal"), /not a field here/],
    [policy({ rules: [null] }), "spec.rules[0]", /must be an object, not null/],
    [policy({ rules: [{ when: [{ key: "source.port", values: ["1"] }] }] }), when("key"), /a policy can judge/],
    [policy({ rules: [{ when: [{ key: "source.ip" }] }] }), when("values"), /is required/],
    [policy({ selector: { matchExpressions: [] } }), "spec.selector.matchExpressions", /not a field here/],
    [policy({ action: "deny" }), "spec.action", /must be one of ALLOW, DENY, AUDIT, CUSTOM, not "deny"/],
    [peer({ mtls: { mode: "strict" } }), "spec.mtls.mode", /must be one of/],
    [peer({ portLevelMtls: { "80": { mode: "STRICT" } } }), "spec.portLevelMtls", /needs a selector/],
    [peer({ selector: labels("a"), portLevelMtls: { http: {} } }), "spec.portLevelMtls.http", /must be a port/],
  ];
  for (const [document, field, message] of cases) {
    const parsed = parseObject(document);
    assert.equal(parsed.result, "faulty", field);
    assert.ok(parsed.result === "faulty");
    assert.deepEqual(parsed.faults.map(({ path }) => fieldPath(path)).slice(0, 1), [field]);
    assert.match(parsed.faults[0]?.message ?? "", message);
  }
});

test("what a manifest leaves out is what the API server would fill in", () => {
  const parsed = object(parseObject({ apiVersion: "v1", kind: "Pod", metadata: { name: "a" } }));
  assert.ok(parsed.kind === "Pod");
  assert.equal(parsed.metadata.namespace, "default");
  assert.equal(parsed.spec.serviceAccountName, "default");
  assert.equal(parsed.status.phase, "Pending");
  const service = object(
    parseObject({ apiVersion: "v1", kind: "Service", metadata: { name: "a" }, spec: { ports: [{ port: 80 }] } }),
  );
  assert.ok(service.kind === "Service");
  assert.deepEqual(service.spec.ports, [{ name: "", port: 80, targetPort: 80, protocol: "TCP" }]);
  assert.equal(service.spec.headless, false);
});

test("a port of a policy may be text or a number", () => {
  const parsed = object(parseObject(policy({ rules: [{ to: [{ operation: { ports: ["80", 81] } }] }] })));
  assert.ok(parsed.kind === "AuthorizationPolicy" && parsed.spec.rules !== "unusable");
  assert.deepEqual(parsed.spec.rules[0]?.to[0]?.ports, [80, 81]);
});

test("an address range has its host bits cleared", () => {
  assert.deepEqual(parseIpBlock("10.1.2.3/12"), { address: "10.0.0.0", length: 12 });
  assert.deepEqual(parseIpBlock("10.1.2.3"), { address: "10.1.2.3", length: 32 });
  assert.deepEqual(parseIpBlock("2001:db8::1/32"), { address: "2001:db8::", length: 32 });
  assert.deepEqual(parseIpBlock("0.0.0.0/0"), { address: "0.0.0.0", length: 0 });
  for (const text of ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0/8", "a/8"])
    assert.equal(parseIpBlock(text), undefined);
});

function object(parsed: Parsed): KubeObject {
  assert.ok(parsed.result === "object", JSON.stringify(parsed));
  return parsed.object;
}

function pod(status: object, spec: object = {}): Record<string, unknown> {
  return { apiVersion: "v1", kind: "Pod", metadata: { name: "a" }, spec, status };
}

function service(spec: object): Record<string, unknown> {
  return { apiVersion: "v1", kind: "Service", metadata: { name: "a" }, spec };
}

function policy(spec: object): Record<string, unknown> {
  return { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", metadata: { name: "a" }, spec };
}

function peer(spec: object): Record<string, unknown> {
  return { apiVersion: "security.istio.io/v1", kind: "PeerAuthentication", metadata: { name: "a" }, spec };
}

function source(fields: object): object {
  return { from: [{ source: fields }] };
}

function labels(app: string): object {
  return { matchLabels: { app } };
}

function sourceField(field: string): string {
  return `spec.rules[0].from[0].source.${field}`;
}

function operation(field: string): string {
  return `spec.rules[0].to[0].operation.${field}`;
}

function when(field: string): string {
  return `spec.rules[0].when[0].${field}`;
}
