import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DeltaDiscoveryResponse, type Resource } from "../generated/discovery.ts";
import type { DeltaUpdate } from "./delta-client.ts";
import { firstOctetOf, readDeltaResponse, updateOf } from "./response-reader.ts";

test("a response is read as the generated decoder reads it", () => {
  fc.assert(
    fc.property(responses, (response) => assertSame(encoded(response))),
    { numRuns: 1_000 },
  );
});

test("H069 torn, turned and doubled octets are read or refused as the generated decoder does", () => {
  const damaged = fc.tuple(responses, fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat(4));
  fc.assert(
    fc.property(damaged, ([response, where, value, how]) => {
      const whole = encoded(response);
      const at = where % (whole.length + 1);
      assertSame(
        [
          Buffer.from(whole.subarray(0, at)),
          Buffer.from(whole).fill(value, Math.min(at, whole.length), Math.min(at + 1, whole.length)),
          Buffer.concat([whole, whole]),
          Buffer.concat([whole.subarray(0, at), Buffer.of(value), whole.subarray(at)]),
          Buffer.concat([whole.subarray(0, at), whole.subarray(at + 1)]),
        ][how]!,
      );
    }),
    { numRuns: 5_000 },
  );
});

test("a push's octets are not copied until somebody keeps them", () => {
  const whole = encoded({
    ...blank,
    resources: [{ ...emptyResource(), name: "a", resource: { typeUrl: "t", value: Buffer.from("said") } }],
  });
  const [resource] = readDeltaResponse(whole).resources;
  assert.equal(resource?.bytes.buffer, whole.buffer);
  assert.equal(Buffer.from(resource.bytes).toString(), "said");
});

test("nor where control says who it is, and what else its resources are called", () => {
  const resource = { ...emptyResource(), name: "a", aliases: ["b", "c"] };
  const said = encoded({
    ...blank,
    resources: [{ ...resource, resource: { typeUrl: "t", value: Buffer.from("said") } }],
  });
  // DeltaDiscoveryResponse.control_plane, field 7, with an identifier.
  const whole = Buffer.concat([said, Buffer.of(0x3a, 8, 0x0a, 6), Buffer.from("istiod")]);
  const { resources, nonce } = readDeltaResponse(whole);
  assert.equal(nonce, blank.nonce);
  assert.equal(resources[0]?.name, "a");
  assert.equal(resources[0].bytes.buffer, whole.buffer);
  assertSame(whole);
});

function assertSame(octets: Buffer): void {
  assert.deepEqual(
    read(() => readDeltaResponse(octets)),
    read(() => updateOf(DeltaDiscoveryResponse.decode(octets))),
  );
}

function read(by: () => DeltaUpdate): unknown {
  try {
    const { resources, ...rest } = by();
    for (const resource of resources) assert.equal(firstOctetOf(resource), resource.bytes[0]);
    const plain = resources.map(({ name, version, bytes }) => [name, version, Buffer.from(bytes).toString("hex")]);
    return { ...rest, resources: plain };
  } catch {
    return "refused";
  }
}

function encoded(response: DeltaDiscoveryResponse): Buffer {
  return Buffer.from(DeltaDiscoveryResponse.encode(response).finish());
}

const blank = DeltaDiscoveryResponse.decode(new Uint8Array());

function emptyResource(): Resource {
  return { version: "", resource: undefined, name: "", aliases: [], ttl: undefined };
}

const text = fc.constantFrom("", "a", "c//Pod/shop/web", "Straße", "x".repeat(200));
const responses: fc.Arbitrary<DeltaDiscoveryResponse> = fc.record({
  systemVersionInfo: text,
  typeUrl: text,
  nonce: text,
  resources: fc.array(
    fc.record({
      name: text,
      version: text,
      resource: fc.option(
        fc.record({ typeUrl: text, value: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) }),
        { nil: undefined },
      ),
      aliases: fc.oneof({ weight: 9, arbitrary: fc.constant<string[]>([]) }, { weight: 1, arbitrary: fc.array(text) }),
      ttl: fc.constant(undefined),
    }),
    { maxLength: 4 },
  ),
  removedResources: fc.array(text, { maxLength: 3 }),
});
