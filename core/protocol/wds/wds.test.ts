import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import * as security from "../generated/security.ts";
import * as workload from "../generated/workload.ts";
import { decodeAddress, type MeshAddress } from "./address.ts";
import { decodeAuthorization, failClosed, type Policy } from "./authorization.ts";
import { waypointRequired } from "./service.ts";
import { WdsError } from "./wds-error.ts";
import { serviceAccountWaypoint } from "./workload.ts";

const emptyWorkload = workload.Workload.decode(new Uint8Array());
const emptyService = workload.Service.decode(new Uint8Array());
const emptyMatch = security.Match.decode(new Uint8Array());

function decodeWorkload(fields: Partial<workload.Workload>): MeshAddress | WdsError {
  const value = { ...emptyWorkload, uid: "c//Pod/shop/a", namespace: "shop", ...fields };
  return decodeAddress(workload.Address.encode({ type: { $case: "workload", value } }).finish());
}

function decodeService(fields: Partial<workload.Service>): MeshAddress | WdsError {
  const value = { ...emptyService, namespace: "shop", hostname: "a.shop.svc.cluster.local", ...fields };
  return decodeAddress(workload.Address.encode({ type: { $case: "service", value } }).finish());
}

function policyBytes(fields: Partial<security.Authorization>): Uint8Array {
  const base = security.Authorization.decode(new Uint8Array());
  return security.Authorization.encode({ ...base, name: "p", namespace: "shop", ...fields }).finish();
}

function matching(match: Partial<security.Match>, action: security.Action = security.Action.ALLOW): Uint8Array {
  return policyBytes({ action, rules: [{ clauses: [{ matches: [{ ...emptyMatch, ...match }] }] }] });
}

function refusal(value: object | undefined): object {
  assert.ok(value instanceof WdsError, `accepted: ${JSON.stringify(value)}`);
  return value.type;
}

suite("a workload on the wire", () => {
  test("with its key alone takes WDS's defaults", () => {
    const address = decodeWorkload({});
    assert.ok(!(address instanceof WdsError) && address.kind === "workload");
    const { trustDomain, serviceAccount, clusterId, capacity, tunnel, healthy, hostNetwork } = address.workload;
    assert.deepEqual(
      [trustDomain, serviceAccount, clusterId, capacity, tunnel, healthy, hostNetwork],
      ["cluster.local", "default", "Kubernetes", 1, "tcp", true, false],
    );
  });

  test("says with an extension of ours that its waypoint is its service account's, and without one says nothing", () => {
    const waypoint: workload.GatewayAddress = {
      destination: { $case: "hostname", value: { namespace: "shop", hostname: "way.example" } },
      hboneMtlsPort: 15008,
    };
    const scope = (fields: Partial<workload.Workload>): unknown => {
      const address = decodeWorkload(fields);
      assert.ok(!(address instanceof WdsError) && address.kind === "workload");
      return address.workload.waypointScope;
    };
    const mark = { name: serviceAccountWaypoint, config: undefined };
    const others = { name: "example.com/other", config: undefined };
    assert.equal(scope({ waypoint, extensions: [others, mark] }), "service-account");
    assert.equal(scope({ waypoint, extensions: [others] }), undefined);
    assert.equal(scope({ extensions: [mark] }), undefined, "of no waypoint there is nothing to say");
    // Field 26 of Workload, field 1 of Extension: what other agents skip.
    const bytes = Buffer.from(workload.Workload.encode({ ...emptyWorkload, extensions: [mark] }).finish());
    const text = Buffer.from(serviceAccountWaypoint);
    const entry = Buffer.concat([Buffer.from([0x0a, text.length]), text]);
    assert.deepEqual(bytes, Buffer.concat([Buffer.from([0xd2, 0x01, entry.length]), entry]));
  });

  test("keeps a capacity of 0, which is not the same as none", () => {
    const address = decodeWorkload({ capacity: 0 });
    assert.ok(!(address instanceof WdsError) && address.kind === "workload");
    assert.equal(address.workload.capacity, 0);
  });

  test("H039 has its addresses in canonical text, IPv4-mapped ones as IPv4", () => {
    const mapped = Buffer.from("00000000000000000000ffff0a000001", "hex");
    const six = Buffer.from("fd000000000000000000000000000001", "hex");
    const address = decodeWorkload({ addresses: [Buffer.from([10, 0, 0, 2]), mapped, six] });
    assert.ok(!(address instanceof WdsError) && address.kind === "workload");
    assert.deepEqual(address.workload.addresses, ["10.0.0.2", "10.0.0.1", "fd00::1"]);
  });

  const refused: [string, Partial<workload.Workload>, object][] = [
    ["no uid", { uid: "" }, { code: "wds.missing", field: "uid" }],
    ["no namespace", { namespace: "" }, { code: "wds.missing", field: "namespace" }],
    [
      "an address of 5 octets",
      { addresses: [Buffer.alloc(5)] },
      { code: "wds.bad-address", field: "addresses", bytes: 5 },
    ],
    ["the legacy tunnel", { tunnelProtocol: 2 }, { code: "wds.unknown-enum", field: "tunnel_protocol", value: 2 }],
    ["an unknown tunnel", { tunnelProtocol: 9 as 1 }, { code: "wds.unknown-enum", field: "tunnel_protocol", value: 9 }],
    ["an unknown status", { status: -5 as 1 }, { code: "wds.unknown-enum", field: "status", value: -5 }],
    [
      "a service key without a slash",
      { services: { x: { ports: [] } } },
      { code: "wds.bad-key", field: "services", key: "x" },
    ],
    [
      "a service key with two slashes",
      { services: { "a/b/c": { ports: [] } } },
      { code: "wds.bad-key", field: "services", key: "a/b/c" },
    ],
    [
      "a port of 65,536",
      { services: { "a/b": { ports: [{ servicePort: 80, targetPort: 65_536, appProtocol: 0 }] } } },
      { code: "wds.bad-port", field: "services.target_port", port: 65_536 },
    ],
    [
      "a waypoint without a destination",
      { waypoint: { destination: undefined, hboneMtlsPort: 15_008 } },
      { code: "wds.missing", field: "waypoint.destination" },
    ],
    [
      "an application tunnel of an unknown protocol",
      { applicationTunnel: { protocol: 7 as 1, port: 0 } },
      { code: "wds.unknown-enum", field: "application_tunnel.protocol", value: 7 },
    ],
  ];
  for (const [what, fields, expected] of refused) {
    test(`is refused with ${what}`, () => assert.deepEqual(refusal(decodeWorkload(fields)), expected));
  }

  test("is refused under another's name", () => {
    const value = { ...emptyWorkload, uid: "c//Pod/shop/a", namespace: "shop" };
    const bytes = workload.Address.encode({ type: { $case: "workload", value } }).finish();
    assert.deepEqual(refusal(decodeAddress(bytes, "c//Pod/shop/b")), {
      code: "wds.name-mismatch",
      name: "c//Pod/shop/b",
      key: "c//Pod/shop/a",
    });
  });

  test("of neither kind is refused", () => {
    assert.deepEqual(refusal(decodeAddress(new Uint8Array())), { code: "wds.missing", field: "type" });
  });
});

suite("a service on the wire", () => {
  const four = (...octets: number[]): Buffer => Buffer.from(octets);

  test("tells exact addresses from prefixes", () => {
    const address = decodeService({
      addresses: [
        { network: "n", address: four(10, 0, 0, 1) },
        { network: "n", address: four(10, 0, 0, 2), length: 32 },
        { network: "n", address: four(10, 1, 0, 0), length: 16 },
      ],
    });
    assert.ok(!(address instanceof WdsError) && address.kind === "service");
    assert.deepEqual(address.service.vips, [
      { network: "n", address: "10.0.0.1" },
      { network: "n", address: "10.0.0.2" },
    ]);
    assert.deepEqual(address.service.cidrVips, [{ network: "n", prefix: Uint8Array.of(10, 1, 0, 0), length: 16 }]);
  });

  test("of a visibility not known yet is public", () => {
    const address = decodeService({ visibility: 9 as 1 });
    assert.ok(!(address instanceof WdsError) && address.kind === "service");
    assert.equal(address.service.visibility, "public");
  });

  test("M01 asks for its waypoint by an extension, whatever that says", () => {
    const asking = (names: string[]): unknown => {
      const extensions = names.map((name) => ({ name, config: undefined }));
      const address = decodeService({ extensions });
      assert.ok(!(address instanceof WdsError) && address.kind === "service");
      return address.service.waypointRequired;
    };
    assert.equal(asking(["another", waypointRequired]), true);
    assert.equal(asking(["another"]), undefined);
  });

  const refused: [string, Partial<workload.Service>, object][] = [
    ["no hostname", { hostname: "" }, { code: "wds.bad-key", field: "hostname", key: "shop/" }],
    [
      "a prefix longer than its address",
      { addresses: [{ network: "", address: four(10, 0, 0, 0), length: 33 }] },
      { code: "wds.bad-prefix", field: "addresses", length: 33 },
    ],
    [
      "a preference for nothing in particular",
      { loadBalancing: { mode: 2, routingPreference: [0], healthPolicy: 0 } },
      { code: "wds.unknown-enum", field: "load_balancing.routing_preference", value: 0 },
    ],
    [
      "a weighted waypoint that leads nowhere",
      { weightedWaypoints: [{ destination: undefined, weight: 1 }] },
      { code: "wds.missing", field: "weighted_waypoints.destination" },
    ],
  ];
  for (const [what, fields, expected] of refused) {
    test(`is refused with ${what}`, () => assert.deepEqual(refusal(decodeService(fields)), expected));
  }
});

suite("a policy on the wire", () => {
  const cidr = (length: number, ...octets: number[]): security.Address => ({ address: Buffer.from(octets), length });

  test("H039 has a prefix inside ::ffff:0:0/96 as the IPv4 prefix it means", () => {
    const mapped = Buffer.from("00000000000000000000ffff0a000000", "hex");
    const policy = decodeAuthorization(matching({ sourceIps: [{ address: mapped, length: 104 }] }));
    assert.ok(!(policy instanceof WdsError));
    assert.deepEqual(policy.rules[0]?.clauses[0]?.matches[0]?.sourceIps, [
      { prefix: Uint8Array.of(10, 0, 0, 0), length: 8 },
    ]);
  });

  const refused: [string, Uint8Array, object][] = [
    ["no name", policyBytes({ name: "" }), { code: "wds.missing", field: "name" }],
    ["an unknown action", policyBytes({ action: 5 as 1 }), { code: "wds.unknown-enum", field: "action", value: 5 }],
    ["an unknown scope", policyBytes({ scope: 5 as 1 }), { code: "wds.unknown-enum", field: "scope", value: 5 }],
    [
      "a comparison of no kind",
      matching({ principals: [{ matchType: undefined }] }),
      { code: "wds.condition-not-understood", field: "principals" },
    ],
    [
      "a condition of an extension",
      matching({ extensions: [{ name: "x", config: undefined }] }),
      { code: "wds.condition-not-understood", field: "match.extensions" },
    ],
    [
      "an address of 3 octets among those to leave out",
      matching({ notSourceIps: [cidr(8, 10, 0, 0)] }),
      { code: "wds.bad-address", field: "not_source_ips", bytes: 3 },
    ],
    [
      "a prefix longer than its address",
      matching({ sourceIps: [cidr(33, 10, 0, 0, 0)] }),
      { code: "wds.bad-prefix", field: "source_ips", length: 33 },
    ],
    [
      "a port of 32 bits to match",
      matching({ destinationPorts: [2 ** 32 - 1] }),
      { code: "wds.bad-port", field: "destination_ports", port: 2 ** 32 - 1 },
    ],
    [
      "a prefix whose length only fits once truncated to 8 bits",
      matching({ destinationIps: [cidr(264, 10, 0, 0, 0)] }),
      { code: "wds.bad-prefix", field: "destination_ips", length: 264 },
    ],
    [
      "a port that is none",
      matching({ notDestinationPorts: [65_616] }),
      { code: "wds.bad-port", field: "not_destination_ports", port: 65_616 },
    ],
  ];
  for (const [what, bytes, expected] of refused) {
    test(`H070 is refused with ${what}`, () => assert.deepEqual(refusal(decodeAuthorization(bytes)), expected));
  }

  test("is refused under another's name", () => {
    assert.deepEqual(refusal(decodeAuthorization(policyBytes({}), "shop/q")), {
      code: "wds.name-mismatch",
      name: "shop/q",
      key: "shop/p",
    });
  });

  test("H070 that is refused and never was good denies all if it is a DENY, and allows nothing if it is an ALLOW", () => {
    const broken = { principals: [{ matchType: undefined }] };
    const deny = failClosed(matching(broken, security.Action.DENY));
    const allow = failClosed(matching(broken, security.Action.ALLOW));
    const unknown = failClosed(policyBytes({ action: 5 as 1, scope: 9 as 1 }));
    const summary = (policy: Policy | undefined): unknown => [
      policy?.key,
      policy?.scope,
      policy?.action,
      policy?.rules,
    ];
    assert.deepEqual(summary(deny), ["shop/p", "global", "deny", [{ clauses: [] }]]);
    assert.deepEqual(summary(allow), ["shop/p", "global", "allow", []]);
    assert.deepEqual(summary(unknown), ["shop/p", "namespace", "deny", [{ clauses: [] }]]);
    assert.equal(failClosed(Uint8Array.of(0xff)), undefined);
  });
});

suite("bytes from anybody", () => {
  test("never make a decoder throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decodeAddress(bytes);
        decodeAuthorization(bytes);
        failClosed(bytes);
      }),
      { numRuns: 1000 },
    );
  });

  test("damaged in any one place never make a decoder throw", () => {
    const good = [
      workload.Address.encode({
        type: {
          $case: "workload",
          value: {
            ...emptyWorkload,
            uid: "u",
            namespace: "n",
            addresses: [Buffer.from([1, 2, 3, 4])],
            waypoint: {
              destination: { $case: "address", value: { network: "", address: Buffer.from([1, 2, 3, 4]) } },
              hboneMtlsPort: 15_008,
            },
            services: { "n/h": { ports: [{ servicePort: 80, targetPort: 8080, appProtocol: 0 }] } },
            capacity: 3,
          },
        },
      }).finish(),
      matching({ principals: [{ matchType: { $case: "exact", value: "x" } }], destinationPorts: [80] }),
    ];
    for (const bytes of good) {
      for (let i = 0; i < bytes.length * 8; i++) {
        const damaged = Uint8Array.from(bytes);
        damaged[i >> 3]! ^= 1 << (i & 7);
        decodeAddress(damaged);
        decodeAuthorization(damaged);
        failClosed(damaged);
      }
    }
  });

  test("that nest a group 10,000 deep are refused", () => {
    const groups = new Uint8Array(10_000).fill(0x0b);
    assert.ok(decodeAddress(groups) instanceof WdsError);
  });
});
