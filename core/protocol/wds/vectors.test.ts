/** Our codecs against every resource a real control plane was recorded sending. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { canonicalIp, formatIp } from "../../base/ip.ts";
import * as security from "../generated/security.ts";
import * as workload from "../generated/workload.ts";
import { DeltaDiscoveryResponse } from "../generated/discovery.ts";
import { addressType, decodeAddress } from "./address.ts";
import { authorizationType, decodeAuthorization } from "./authorization.ts";
import { WdsError } from "./wds-error.ts";

interface Recorded {
  readonly name: string;
  readonly value: Record<string, unknown>;
  readonly base64: string;
}

const file = new URL("../../../test/vectors/scenario-a/wds.json", import.meta.url);
const recorded = JSON.parse(readFileSync(file, "utf8")) as Record<string, { resources: Recorded[] }>;
const addresses = recorded[addressType]!.resources;
const policies = recorded[authorizationType]!.resources;
const codecs = [
  { typeUrl: addressType, resources: addresses, codec: workload.Address },
  { typeUrl: authorizationType, resources: policies, codec: security.Authorization },
] as const;

suite("resources recorded from istiod", () => {
  test("are all here", () => assert.deepEqual([addresses.length, policies.length], [36, 8]));

  for (const { typeUrl, resources, codec } of codecs) {
    const kind = typeUrl.split(".").at(-1);

    test(`${kind}: what they are decoded to says what was recorded, no more and no less`, () => {
      for (const { name, value, base64 } of resources) {
        assertSays(codec.decode(Buffer.from(base64, "base64")), value, name);
      }
    });

    test(`${kind}: decoded, encoded and decoded again they are the same messages`, () => {
      for (const { base64 } of resources) {
        const message = codec.decode(Buffer.from(base64, "base64"));
        assert.deepEqual(codec.decode(codec.encode(message as never).finish()), message);
      }
    });

    test(`${kind}: fields this version does not know come through on every level`, () => {
      for (const { name, base64 } of resources) {
        const message = codec.decode(Buffer.from(base64, "base64"));
        const levels = addUnknownFields(message);
        assert.ok(levels > 0);
        const bytes = codec.encode(message as never).finish();
        assert.equal(occurrences(bytes, unknownField), levels, name);
        const again = codec.decode(bytes);
        assert.deepEqual(again, message);
        assert.deepEqual(codec.encode(again as never).finish(), bytes);
      }
    });

    test(`${kind}: they survive the trip in a delta response`, () => {
      const response: DeltaDiscoveryResponse = {
        systemVersionInfo: "1",
        typeUrl,
        nonce: "n",
        resources: resources.map(({ name, base64 }) => ({
          name,
          version: "v",
          aliases: [],
          resource: { typeUrl, value: Buffer.from(base64, "base64") },
          ttl: undefined,
        })),
        removedResources: ["gone"],
      };
      const again = DeltaDiscoveryResponse.decode(DeltaDiscoveryResponse.encode(response).finish());
      assert.deepEqual(
        again.resources.map(({ name, resource }) => [name, resource?.value.toString("base64")]),
        resources.map(({ name, base64 }) => [name, base64]),
      );
      assert.deepEqual(again.removedResources, ["gone"]);
    });
  }

  test("all workloads, services and policies are accepted under their own names", () => {
    const kinds = { workload: 0, service: 0 };
    for (const { name, base64 } of addresses) {
      const address = decodeAddress(Buffer.from(base64, "base64"), name);
      if (address instanceof WdsError) throw address;
      kinds[address.kind] += 1;
    }
    for (const { name, base64 } of policies) {
      const policy = decodeAuthorization(Buffer.from(base64, "base64"), name);
      if (policy instanceof WdsError) throw policy;
      assert.equal(policy.key, name);
    }
    assert.ok(kinds.workload > 10 && kinds.service > 10, JSON.stringify(kinds));
  });

  test("a workload with unknown fields means the same; a policy with an unknown condition is refused", () => {
    for (const { name, base64 } of addresses) {
      const message = workload.Address.decode(Buffer.from(base64, "base64"));
      const plain = decodeAddress(Buffer.from(base64, "base64"));
      addUnknownFields(message);
      assert.deepEqual(decodeAddress(workload.Address.encode(message).finish(), name), plain);
    }
    for (const { base64 } of policies) {
      const message = security.Authorization.decode(Buffer.from(base64, "base64"));
      const plain = decodeAuthorization(Buffer.from(base64, "base64"));
      const levels = addUnknownFields(message);
      const policy = decodeAuthorization(security.Authorization.encode(message).finish());
      if (levels === 1) assert.deepEqual(policy, plain, "the policy itself may carry more than we read");
      else assert.ok(policy instanceof WdsError && policy.type.code === "wds.condition-not-understood");
    }
  });

  test("strict mutual TLS is read as: deny whom nobody vouches for", () => {
    const strict = policies.find(({ name }) => name.endsWith("istio_converted_static_strict"))!;
    const policy = decodeAuthorization(Buffer.from(strict.base64, "base64"));
    assert.ok(!(policy instanceof WdsError));
    assert.deepEqual([policy.scope, policy.action, policy.rules.length], ["selector", "deny", 1]);
    assert.deepEqual(policy.rules[0]?.clauses[0]?.matches[0]?.notPrincipals, [{ kind: "presence" }]);
  });
});

/** Field 4000, three octets. */
const unknownTag = (4000 << 3) | 2;
const unknownValue = Uint8Array.of(3, 0xfe, 0xed, 0xfa);
const unknownField = Buffer.from([0x82, 0xfa, 0x01, ...unknownValue]);

/** Puts an unknown field into every message of the tree. @returns into how many. */
function addUnknownFields(value: unknown): number {
  if (typeof value !== "object" || value === null || Buffer.isBuffer(value)) return 0;
  let count = 0;
  if ("_unknownFields" in value) {
    value._unknownFields = { [unknownTag]: [unknownValue] };
    count += 1;
  }
  for (const [key, child] of Object.entries(value)) if (key !== "_unknownFields") count += addUnknownFields(child);
  return count;
}

function occurrences(bytes: Uint8Array, part: Buffer): number {
  return Buffer.from(bytes).toString("latin1").split(part.toString("latin1")).length - 1;
}

/** Enum names as the recording prints them, by field. */
const enums: Record<string, Record<string, number>> = {
  tunnelProtocol: workload.TunnelProtocol,
  workloadType: workload.WorkloadType,
  status: workload.WorkloadStatus,
  networkMode: workload.NetworkMode,
  ipFamilies: workload.IPFamilies,
  appProtocol: workload.AppProtocol,
  visibility: workload.Service_Visibility,
  mode: workload.LoadBalancing_Mode,
  healthPolicy: workload.LoadBalancing_HealthPolicy,
  routingPreference: workload.LoadBalancing_Scope,
  protocol: workload.ApplicationTunnel_Protocol,
  scope: security.Scope,
  action: security.Action,
};

/** Every field printed is there, and every field not printed has its default. */
function assertSays(actual: unknown, printed: unknown, where: string): void {
  const field = /([A-Za-z]+)[^A-Za-z]*$/.exec(where)?.[1] ?? "";
  if (printed === undefined) {
    const isDefault = actual === undefined || actual === "" || actual === 0 || actual === false;
    const isEmpty = typeof actual === "object" && actual !== null && Object.keys(actual).length === 0;
    assert.ok(isDefault || isEmpty, `${where} is not printed and is ${JSON.stringify(actual)}`);
  } else if (Buffer.isBuffer(actual)) {
    assert.equal(formatIp(actual), canonicalIp(printed as string), where);
  } else if (typeof actual === "number" && typeof printed === "string") {
    assert.equal(actual, enums[field]?.[printed], where);
  } else if (typeof actual === "number" && typeof printed === "object" && printed !== null) {
    assert.equal(actual, "value" in printed ? printed.value : 0, where); // a UInt32Value
  } else if (Array.isArray(actual)) {
    assert.equal(actual.length, (printed as unknown[]).length, where);
    for (const [i, item] of actual.entries()) assertSays(item, (printed as unknown[])[i], `${where}[${i}]`);
  } else if (typeof actual === "object" && actual !== null) {
    const fields = flattened(actual);
    const expected = printed as Record<string, unknown>;
    for (const key of new Set([...Object.keys(fields), ...Object.keys(expected)])) {
      assertSays(fields[key], expected[key], `${where}.${key}`);
    }
  } else {
    assert.equal(actual, printed, where);
  }
}

/** A message's fields, with the chosen member of a oneof in the place of the oneof. */
function flattened(message: object): Record<string, unknown> {
  const fields = Object.entries(message).filter(([key]) => key !== "_unknownFields");
  return Object.fromEntries(
    fields.flatMap(([key, value]: [string, unknown]) => {
      const isOneof = typeof value === "object" && value !== null && "$case" in value && "value" in value;
      return isOneof ? [[String(value.$case), value.value]] : [[key, value]];
    }),
  );
}
