import assert from "node:assert/strict";
import { test } from "node:test";
import { MeshState } from "../../core/decision/mesh-state.ts";
import { alice } from "../../test/support/hbone-pair.ts";
import { backs, cidr, gatewayAt, pod, policy, port, ruleOf, service } from "../../test/support/mesh.ts";
import type { CertificateRow } from "../../control/client/certificates/manager.ts";
import { parseConfig, ConfigError } from "../config.ts";
import { configDump } from "./config-dump.ts";

/**
 * What istioctl's ztunnel-config decodes a dump into (istio/istio istioctl/pkg/writer/ztunnel/configdump/api.go): a member of another
 * kind than its field makes Go refuse the whole dump.
 */
const gateway = { destination: "string" };
const text = ["string"];
const cert = { pem: "string", serialNumber: "string", validFrom: "string", expirationTime: "string" };
const strings = [{ Exact: "string", Suffix: "string", Prefix: "string" }];
const accounts = [{ namespace: "string", serviceAccount: "string" }];
const connections = [{ src: "string", originalDst: "string", actualDst: "string", protocol: "string" }];
const shape: Shape = {
  workloads: [
    {
      uid: "string",
      workloadIps: text,
      waypoint: gateway,
      networkGateway: gateway,
      protocol: "string",
      name: "string",
      namespace: "string",
      serviceAccount: "string",
      workloadName: "string",
      workloadType: "string",
      canonicalName: "string",
      canonicalRevision: "string",
      clusterId: "string",
      trustDomain: "string",
      locality: { region: "string", zone: "string", subzone: "string" },
      node: "string",
      network: "string",
      status: "string",
      hostname: "string",
      capacity: "number",
      applicationTunnel: { protocol: "string", port: "number" },
      authorizationPolicies: text,
    },
  ],
  services: [
    {
      name: "string",
      namespace: "string",
      hostname: "string",
      vips: text,
      ports: { "*": "number" },
      loadBalancer: { mode: "string", routingPreferences: text, healthPolicy: "string" },
      waypoint: gateway,
      endpoints: { "*": { workloadUid: "string", service: "string", port: { "*": "number" } } },
      subjectAltNames: text,
      ipFamilies: "string",
    },
  ],
  policies: [
    {
      name: "string",
      namespace: "string",
      scope: "string",
      action: "string",
      rules: [
        [
          [
            {
              namespaces: strings,
              notNamespaces: strings,
              principals: strings,
              notPrincipals: strings,
              sourceIps: text,
              notSourceIps: text,
              destinationIps: text,
              destinationPorts: ["number"],
              serviceAccounts: accounts,
            },
          ],
        ],
      ],
    },
  ],
  certificates: [{ identity: "string", state: "string", certChain: [cert], rootCerts: [cert] }],
  workloadState: {
    "*": {
      state: "string",
      connections: { inbound: connections, outbound: connections },
      info: { name: "string", namespace: "string", serviceAccount: "string" },
    },
  },
};

const waypoint = service("shop/waypoint", "10.96.0.9", [port(15_008, 15_008)]);
const web = service("shop/web", "10.96.0.1", [port(80, 8_080)], {
  waypoint: gatewayAt(waypoint),
  loadBalancing: { mode: "failover", preferences: ["region", "zone"], allowUnhealthy: true },
  subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/web"],
});
const state = new MeshState();
state.apply({
  services: [waypoint, web],
  workloads: [
    pod("shop/web-1", "10.0.0.1", {
      services: backs([web, port(80, 8_080)]),
      waypoint: { destination: { kind: "address", network: "", address: "10.96.0.9" }, port: 15_008 },
      networkGateway: gatewayAt(waypoint),
      applicationTunnel: { protocol: "proxy", port: 9_000 },
      policies: ["shop/some"],
    }),
  ],
});
const some = policy("shop/some", {
  scope: "selector",
  rules: [
    ruleOf({
      principals: [{ kind: "exact", value: "cluster.local/ns/a/sa/b" }, { kind: "presence" }],
      notPrincipals: [{ kind: "suffix", value: "/sa/c" }],
      namespaces: [{ kind: "prefix", value: "team-" }],
      sourceIps: [cidr("10.0.0.0/8")],
      destinationPorts: [80, 443],
      serviceAccounts: [{ namespace: "a", serviceAccount: "b" }],
    }),
  ],
});
const config = parseConfig({ AUTH_TOKEN: "a secret token", XDS_HEADER_x: "a secret header" }, 2);
if (config instanceof ConfigError) throw config;
const uri = "spiffe://cluster.local/ns/shop/sa/web";
const rows: CertificateRow[] = [
  { identity: uri, work: "scheduled", held: { serialNumber: "0A", notBefore: 0, notAfter: 1 } },
  { identity: "spiffe://b", work: "fetching" },
  {
    identity: "spiffe://c",
    work: "paused",
    nextAttempt: 0,
    lastError: { code: "certificate.timeout", identity: "spiffe://c", afterMs: 5 },
  },
];
const dumped = JSON.parse(
  JSON.stringify(
    configDump({
      state,
      policies: [some],
      certificates: rows,
      chainOf: (of) => (of === uri ? { chainPem: [alice.chain], rootsPem: alice.roots } : undefined),
      pods: [
        { uid: "uid-1", info: { namespace: "shop", name: "web-1", serviceAccount: "web" }, state: "Up" },
        {
          uid: "uid-2",
          info: { namespace: "shop", name: "web-2", serviceAccount: "web" },
          state: "Pending",
          error: { code: "pods.replaced", uid: "uid-2" },
        },
      ],
      connections: [
        {
          pod: "uid-1",
          direction: "inbound",
          src: "10.0.0.9:4711",
          originalDst: "10.0.0.1:8080",
          actualDst: "10.0.0.1:15008",
          protocol: "HBONE",
          phase: "open",
        },
      ],
      config,
      xds: { phase: "live", sinceMs: 0, types: [] },
      gates: [],
      workers: { count: 1, losses: 0, tunnels: [] },
    }),
  ),
) as Dump;

test("F-218 every member that istioctl reads is there and of the kind that it decodes", () => {
  const seen = new Set<string>();
  check(dumped, shape, "dump", seen);
  assert.deepEqual(
    [...missing(shape, "dump")].filter((path) => !seen.has(path)),
    [
      "dump.policies[].rules[][][].notNamespaces",
      "dump.policies[].rules[][][].notSourceIps",
      "dump.policies[].rules[][][].destinationIps",
    ],
  );
});

test("F-218 references, balancing and matches are in the field's own words", () => {
  const [workload] = dumped.workloads;
  assert.deepEqual(workload?.["waypoint"], { destination: "/10.96.0.9", hboneMtlsPort: 15_008 });
  assert.deepEqual(workload?.["networkGateway"], {
    destination: "shop/waypoint.shop.svc.cluster.local",
    hboneMtlsPort: 15_008,
  });
  assert.deepEqual(workload?.["applicationTunnel"], { protocol: "PROXY", port: 9_000 });
  const [, second] = dumped.services;
  assert.deepEqual(second?.["loadBalancer"], {
    mode: "Failover",
    routingPreferences: ["Region", "Zone"],
    healthPolicy: "AllowAll",
  });
  assert.deepEqual(dumped.policies[0]?.["rules"], [
    [
      [
        {
          principals: [{ Exact: "cluster.local/ns/a/sa/b" }, { Presence: {} }],
          notPrincipals: [{ Suffix: "/sa/c" }],
          namespaces: [{ Prefix: "team-" }],
          sourceIps: ["10.0.0.0/8"],
          destinationPorts: [80, 443],
          serviceAccounts: [{ namespace: "a", serviceAccount: "b" }],
        },
      ],
    ],
  ]);
});

test("F-219 each pod lists its connections by direction, and says what keeps it", () => {
  assert.deepEqual(dumped.workloadState["uid-1"], {
    state: "Up",
    connections: {
      inbound: [{ src: "10.0.0.9:4711", originalDst: "10.0.0.1:8080", actualDst: "10.0.0.1:15008", protocol: "HBONE" }],
      outbound: [],
    },
    info: { namespace: "shop", name: "web-1", serviceAccount: "web" },
  });
  const pending = dumped.workloadState["uid-2"] as { state: string; error: unknown };
  assert.deepEqual([pending.state, pending.error], ["Pending", { code: "pods.replaced", uid: "uid-2" }]);
});

test("F-220 each certificate says its state, its chain and its roots, in decimal serials and RFC 3339 times", () => {
  assert.deepEqual(
    dumped.certificates.map(({ state, certChain, rootCerts }) => [state, certChain.length, rootCerts.length]),
    [
      ["Available", 1, 1],
      ["Initializing", 0, 0],
      ["Unavailable: certificate.timeout", 0, 0],
    ],
  );
  const [leaf] = dumped.certificates[0]?.certChain ?? [];
  assert.match(leaf?.["serialNumber"] ?? "", /^\d+$/);
  assert.match(leaf?.["expirationTime"] ?? "", /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.match(Buffer.from(leaf?.["pem"] ?? "", "base64").toString(), /^-----BEGIN CERTIFICATE-----/);
});

test("F-218 H100 neither token nor header nor key is in a dump", () => {
  const all = JSON.stringify(dumped);
  const base64 = Buffer.from("-----BEGIN PRIVATE KEY").toString("base64").slice(0, 28);
  for (const part of ["a secret", "PRIVATE KEY", base64]) assert.ok(!all.includes(part), part);
});

type Shape = string | readonly Shape[] | { readonly [member: string]: Shape };

interface Dump {
  readonly workloads: Record<string, unknown>[];
  readonly services: Record<string, unknown>[];
  readonly policies: Record<string, unknown>[];
  readonly certificates: { state: string; certChain: Record<string, string>[]; rootCerts: unknown[] }[];
  readonly workloadState: Record<string, unknown>;
}

/** Every member of `value` that `of` knows has the kind it says; the others are nobody's business. */
function check(value: unknown, of: Shape, path: string, seen: Set<string>): void {
  if (typeof of === "string") return assert.equal(typeof value, of, path);
  if (Array.isArray(of)) {
    assert.ok(Array.isArray(value), path);
    for (const item of value as unknown[]) check(item, of[0] as Shape, `${path}[]`, seen);
    return;
  }
  assert.ok(typeof value === "object" && value !== null && !Array.isArray(value), path);
  const members = of as Readonly<Record<string, Shape>>;
  for (const [name, member] of Object.entries(value)) {
    const expected = members[name] ?? members["*"];
    if (expected === undefined) continue;
    const at = `${path}.${members[name] === undefined ? "*" : name}`;
    seen.add(at);
    check(member, expected, at, seen);
  }
}

/** Paths of every member, but the ways in which a text may match. */
function* missing(of: Shape, path: string): Generator<string> {
  if (typeof of === "string") return;
  if (Array.isArray(of)) {
    yield* missing(of[0] as Shape, `${path}[]`);
    return;
  }
  for (const [name, member] of Object.entries(of as Readonly<Record<string, Shape>>)) {
    if (["Exact", "Suffix", "Prefix"].includes(name)) continue;
    yield `${path}.${name}`;
    if (!["notNamespaces", "outbound"].includes(name)) yield* missing(member, `${path}.${name}`);
  }
}
