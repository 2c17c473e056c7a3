import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import {
  decodeStoreRequest,
  decodeStoreResponse,
  encodeStoreRequest,
  encodeStoreResponse,
  ListenerStoreError,
  storePacketLimit,
  type StoreRequest,
  type StoreResponse,
} from "./messages.ts";

const textOf = (bytes: Uint8Array | ListenerStoreError): string => {
  if (bytes instanceof ListenerStoreError) throw bytes;
  return Buffer.from(bytes).toString();
};
const codeOf = (value: object): string => (value instanceof ListenerStoreError ? value.type.code : "no error");
const request = (text: string, descriptors = 0): string => codeOf(decodeStoreRequest(Buffer.from(text), descriptors));
const response = (text: string, descriptors = 0): string => codeOf(decodeStoreResponse(Buffer.from(text), descriptors));

const plain = { noNullPrototype: true } as const;
const uid = fc.string({ unit: "binary", minLength: 1, maxLength: 64 }).filter((text) => text.isWellFormed());
const listener = fc.record({ uid, port: fc.integer({ min: 1, max: 65_535 }), transparent: fc.boolean() }, plain);
const requests = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), listener }, plain),
  fc.record({ kind: fc.constantFrom("take" as const, "drop" as const), uid }, plain),
  fc.record({ kind: fc.constantFrom("serving" as const, "successor" as const) }, plain),
);
const responses = fc.oneof(
  fc.record({ kind: fc.constant("ok" as const) }, plain),
  fc.record({ kind: fc.constant("error" as const), reason: fc.string({ maxLength: 160 }) }, plain),
  fc.record({ kind: fc.constant("listener" as const), listener }, plain),
  fc.record({ kind: fc.constant("end" as const), uid }, plain),
  fc.record({ kind: fc.constant("successor" as const), serving: fc.boolean() }, plain),
);
const carries = (message: StoreRequest | StoreResponse): number => ("listener" in message ? 1 : 0);

suite("a packet of the listener store", () => {
  test("has the text of the contract", () => {
    const kept = { uid: "a", port: 15_008, transparent: true };
    assert.equal(
      textOf(encodeStoreRequest({ kind: "put", listener: kept })),
      '{"put":{"uid":"a","port":15008,"transparent":true}}',
    );
    assert.equal(textOf(encodeStoreRequest({ kind: "take", uid: "a" })), '{"take":{"uid":"a"}}');
    assert.equal(textOf(encodeStoreRequest({ kind: "drop", uid: "a" })), '{"drop":{"uid":"a"}}');
    assert.equal(textOf(encodeStoreRequest({ kind: "serving" })), '{"serving":true}');
    assert.equal(textOf(encodeStoreRequest({ kind: "successor" })), '{"successor":true}');
    assert.equal(textOf(encodeStoreResponse({ kind: "successor", serving: false })), '{"successor":false}');
    assert.equal(textOf(encodeStoreResponse({ kind: "ok" })), '{"ok":true}');
    assert.equal(textOf(encodeStoreResponse({ kind: "error", reason: "full" })), '{"error":"full"}');
    assert.equal(
      textOf(encodeStoreResponse({ kind: "listener", listener: kept })),
      '{"listener":{"uid":"a","port":15008,"transparent":true}}',
    );
    assert.equal(textOf(encodeStoreResponse({ kind: "end", uid: "a" })), '{"end":{"uid":"a"}}');
  });

  test("is read back as it was written, and always fits", () => {
    fc.assert(
      fc.property(requests, (message) => {
        const bytes = encodeStoreRequest(message);
        assert.ok(bytes instanceof Uint8Array && bytes.length <= storePacketLimit);
        assert.deepEqual(decodeStoreRequest(bytes, carries(message)), message);
      }),
    );
    fc.assert(
      fc.property(responses, (message) => {
        const bytes = encodeStoreResponse(message);
        assert.ok(bytes instanceof Uint8Array && bytes.length <= storePacketLimit);
        assert.deepEqual(decodeStoreResponse(bytes, carries(message)), message);
      }),
    );
  });

  test("carries a descriptor where there is a socket, and nowhere else", () => {
    fc.assert(
      fc.property(requests, fc.integer({ min: 0, max: 16 }), (message, descriptors) => {
        fc.pre(descriptors !== carries(message));
        const bytes = encodeStoreRequest(message);
        assert.ok(bytes instanceof Uint8Array);
        assert.equal(codeOf(decodeStoreRequest(bytes, descriptors)), "listener-store.descriptor-count");
      }),
    );
    assert.equal(response('{"listener":{"uid":"a","port":1,"transparent":false}}'), "listener-store.descriptor-count");
    assert.equal(response('{"end":{"uid":"a"}}', 1), "listener-store.descriptor-count");
    assert.equal(response('{"ok":true}', 2), "listener-store.descriptor-count");
  });

  test("of whatever bytes is a message or a typed error", () => {
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      fc.dictionary(fc.constantFrom("put", "take", "listener", "end", "ok", "error"), fc.jsonValue()).map((value) => {
        return JSON.stringify(value);
      }),
    );
    const anyBytes = fc.oneof(
      fc.uint8Array(),
      text.map((content) => Buffer.from(content)),
    );
    fc.assert(
      fc.property(anyBytes, fc.integer({ min: 0, max: 2 }), (bytes, descriptors) => {
        for (const read of [decodeStoreRequest(bytes, descriptors), decodeStoreResponse(bytes, descriptors)]) {
          assert.ok(read instanceof ListenerStoreError || "kind" in read);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("that is none is refused by name", () => {
    assert.equal(request(""), "listener-store.undecodable");
    assert.equal(request("[]"), "listener-store.undecodable");
    assert.equal(request("null"), "listener-store.undecodable");
    assert.equal(request('{"take":{"uid":"a"},"drop":{"uid":"a"}}'), "listener-store.undecodable");
    assert.equal(request('{"steal":{"uid":"a"}}'), "listener-store.unknown-message");
    assert.equal(request('{"__proto__":{"uid":"a"}}'), "listener-store.unknown-message");
    assert.equal(request('{"take":{"uid":""}}'), "listener-store.bad-field");
    assert.equal(request('{"take":null}'), "listener-store.bad-field");
    assert.equal(request(`{"take":{"uid":"${"x".repeat(129)}"}}`), "listener-store.bad-field");
    assert.equal(request(`{"take":{"uid":"a","more":"${"x".repeat(1024)}"}}`), "listener-store.packet-too-long");
    for (const port of ["0", "65536", "1.5", '"15008"', "null"]) {
      assert.equal(request(`{"put":{"uid":"a","port":${port},"transparent":true}}`, 1), "listener-store.bad-field");
    }
    assert.equal(request('{"put":{"uid":"a","port":1}}', 1), "listener-store.bad-field");
    assert.equal(request('{"serving":false}'), "listener-store.bad-field");
    assert.equal(response('{"successor":1}'), "listener-store.bad-field");
    assert.equal(response('{"ok":false}'), "listener-store.bad-field");
    assert.equal(response('{"error":7}'), "listener-store.bad-field");
  });

  test("is not written where the other side would refuse it", () => {
    assert.equal(codeOf(encodeStoreRequest({ kind: "take", uid: "x".repeat(129) })), "listener-store.bad-field");
    const listener = { uid: "a", port: 0, transparent: true };
    assert.equal(codeOf(encodeStoreRequest({ kind: "put", listener })), "listener-store.bad-field");
    const reason = "\u{1f511}".repeat(4000);
    const cut = encodeStoreResponse({ kind: "error", reason });
    assert.ok(cut instanceof Uint8Array && cut.length <= storePacketLimit);
    assert.equal(codeOf(decodeStoreResponse(cut, 0)), "no error");
  });
});
