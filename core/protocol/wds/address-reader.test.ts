import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import fc from "fast-check";
import { addressResponse } from "../../../test/support/large-mesh.ts";
import { DeltaDiscoveryResponse } from "../generated/discovery.ts";
import * as workload from "../generated/workload.ts";
import { AddressReader } from "./address-reader.ts";
import { addressType, decodeAddress, type MeshAddress } from "./address.ts";
import { CompactWorkload } from "./compact-workload.ts";
import { serviceAccountWaypoint, type MeshWorkload } from "./workload.ts";
import { WdsError } from "./wds-error.ts";

const emptyWorkload = workload.Workload.decode(new Uint8Array());

suite("a reader of addresses", () => {
  test("says of every ordinary workload what the decoder says, whichever came before", () => {
    const reader = new AddressReader();
    const spread = { compact: 0, all: 0 };
    fc.assert(
      fc.property(workloads, (fields) => {
        const value = { ...emptyWorkload, ...fields };
        const bytes = workload.Address.encode({ type: { $case: "workload", value } }).finish();
        spread.all += 1;
        if (assertSame(reader, bytes)) spread.compact += 1;
      }),
      { numRuns: 3_000 },
    );
    assert.ok(spread.compact > spread.all / 5, `${spread.compact} of ${spread.all} went the short way`);
  });

  test("H069 says of torn, turned and doubled octets what the decoder says", () => {
    const reader = new AddressReader();
    const whole = [...resources(addressResponse({ workloads: 20, services: 5, policies: 0 }))].map(
      ({ bytes }) => bytes,
    );
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat(4), (which, where, value, how) => {
        const bytes = whole[which % whole.length]!;
        const at = where % bytes.length;
        const torn = [
          Buffer.from(bytes.subarray(0, at)),
          Buffer.from(bytes).fill(value, at, at + 1),
          Buffer.concat([bytes, bytes]),
          Buffer.concat([bytes.subarray(0, at), Buffer.of(value), bytes.subarray(at)]),
          Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]),
        ][how]!;
        assertSame(reader, torn);
      }),
      { numRuns: 5_000 },
    );
  });

  test("reads what a real control plane was recorded sending", () => {
    const file = new URL("../../../test/vectors/scenario-a/wds.json", import.meta.url);
    const recorded = JSON.parse(readFileSync(file, "utf8")) as Record<string, { resources: { base64: string }[] }>;
    const reader = new AddressReader();
    let compact = 0;
    for (const { base64 } of recorded[addressType]!.resources) {
      if (assertSame(reader, Buffer.from(base64, "base64"))) compact += 1;
    }
    assert.ok(compact > 10, `${compact} the short way`);
  });

  test("refuses a workload under another's name", () => {
    const [first, second] = [...resources(addressResponse({ workloads: 2, services: 0, policies: 0 }))];
    const octets = Buffer.from(first!.bytes);
    const reader = new AddressReader();
    assert.ok(!(reader.read(octets, 0, octets.length, first!.name) instanceof WdsError));
    const refused = reader.read(octets, 0, octets.length, second!.name);
    assert.ok(refused instanceof WdsError && refused.type.code === "wds.name-mismatch");
  });

  test("holds once what the pods of a deployment have in common", () => {
    const reader = new AddressReader();
    const [one, other] = [...resources(addressResponse({ workloads: 2, services: 1, policies: 0 }))].slice(1);
    const [left, right] = [one!, other!].map(({ bytes }) => workloadIn(reader.read(bytes, 0, bytes.length)));
    assert.ok(left instanceof CompactWorkload && right instanceof CompactWorkload);
    assert.notEqual(left.uid, right.uid);
    assert.equal(left.services, right.services);
    assert.equal(left.services.size, 1);
  });

  test("keeps no text for the next workload that is longer than a name can be", () => {
    const reader = new AddressReader();
    const long = "n".repeat(10_000);
    const named = { ...emptyWorkload, uid: "cluster//Pod/default/a", name: "a", namespace: "default" };
    const usual = workload.Address.encode({ type: { $case: "workload", value: named } }).finish();
    assert.equal(assertSame(reader, usual), true);
    for (const field of ["node", "network", "canonicalName"] as const) {
      const value = { ...named, [field]: long };
      const bytes = workload.Address.encode({ type: { $case: "workload", value } }).finish();
      assert.equal(assertSame(reader, bytes), false);
    }
  });
});

/** @returns whether it went the short way. */
function assertSame(reader: AddressReader, bytes: Uint8Array): boolean {
  // In the midst of others: what is around must not matter.
  const octets = Buffer.concat([Buffer.of(0x0a, 0xff), bytes, Buffer.of(0x12, 0x01, 0xff)]);
  const read = reader.read(octets, 2, 2 + bytes.length);
  assert.deepEqual(plain(read), plain(decodeAddress(bytes)));
  return !(read instanceof WdsError) && read.kind === "workload" && read.workload instanceof CompactWorkload;
}

function plain(address: MeshAddress | WdsError): unknown {
  if (address instanceof WdsError) return address.type;
  if (address.kind === "service") return address;
  return Object.fromEntries(fields.map((field) => [field, address.workload[field]]));
}

function workloadIn(address: MeshAddress | WdsError): MeshWorkload {
  assert.ok(!(address instanceof WdsError) && address.kind === "workload");
  return address.workload;
}

function* resources(response: Uint8Array): Generator<{ readonly name: string; readonly bytes: Buffer }> {
  for (const { name, resource } of DeltaDiscoveryResponse.decode(response).resources) {
    yield { name, bytes: resource!.value };
  }
}

const fields = [
  ...["uid", "name", "namespace", "addresses", "network", "tunnel", "trustDomain", "serviceAccount", "waypoint"],
  ...["waypointScope", "networkGateway", "node", "canonicalName", "canonicalRevision", "workloadType", "workloadName"],
  ...["nativeTunnel", "policies", "healthy", "clusterId", "hostname", "services", "applicationTunnel", "locality"],
  ...["hostNetwork", "capacity"],
] as (keyof MeshWorkload)[];

/** What is ordinary, and now and then what is not. */
function mostly<T, U>(ordinary: readonly T[], rare: readonly U[]): fc.Arbitrary<T | U> {
  return fc.oneof(
    { weight: 60, arbitrary: fc.constantFrom(...ordinary) },
    { weight: 1, arbitrary: fc.constantFrom(...rare) },
  );
}

const text = mostly(["shop", "web", "web-7d9f8", "cluster.local", ""], ["Straße", "\ufeff"]);
const key = mostly(["shop/web.shop.svc", "shop/db.shop.svc", "n/x.y"], ["malformed"]);
const octets = fc
  .oneof(
    { weight: 60, arbitrary: fc.uint8Array({ minLength: 4, maxLength: 4 }) },
    { weight: 30, arbitrary: fc.uint8Array({ minLength: 16, maxLength: 16 }) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 5 }) },
  )
  .map((bytes) => Buffer.from(bytes));
const gateway: fc.Arbitrary<workload.GatewayAddress> = fc.record({
  destination: fc.oneof(
    fc.record({ $case: fc.constant("hostname" as const), value: fc.record({ namespace: text, hostname: text }) }),
    fc.record({
      $case: fc.constant("address" as const),
      value: fc.record({ network: text, address: octets, length: fc.constant(undefined) }),
    }),
  ),
  hboneMtlsPort: mostly([0, 15_008], [70_000]),
});
const ports = fc.array(
  fc.record({
    servicePort: mostly([80, 443, 65_535], [65_536]),
    targetPort: fc.nat(8_080),
    appProtocol: fc.constantFrom(0, 1),
  }),
  { maxLength: 2 },
);
const rarely = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
const workloads = fc.record({
  uid: mostly(["c//Pod/shop/web-7d9f8", "w1"], ["", "ü"]),
  name: text,
  namespace: mostly(["shop", "team"], ["", "ü"]),
  addresses: fc.array(octets, { maxLength: 2 }),
  network: text,
  tunnelProtocol: mostly([0, 1], [2, 300]),
  trustDomain: text,
  serviceAccount: text,
  waypoint: rarely(gateway),
  node: text,
  canonicalName: text,
  canonicalRevision: text,
  workloadType: mostly([0, 1, 2, 3], [4]),
  workloadName: text,
  nativeTunnel: fc.boolean(),
  authorizationPolicies: fc.array(text, { maxLength: 3 }),
  status: mostly([0, 1], [2]),
  clusterId: text,
  networkGateway: rarely(gateway),
  hostname: text,
  services: fc.dictionary(key, fc.record({ ports }), { maxKeys: 2 }),
  applicationTunnel: rarely(fc.record({ protocol: fc.constantFrom(0, 1), port: fc.nat(70_000) })),
  locality: rarely(fc.record({ region: text, zone: text, subzone: text })),
  networkMode: mostly([0, 1], [7]),
  extensions: mostly([[]], [[{ name: serviceAccountWaypoint, config: undefined }]]),
  capacity: mostly([undefined, 0, 1, 2, 127], [128, 5_000]),
}) as fc.Arbitrary<workload.Workload>;
