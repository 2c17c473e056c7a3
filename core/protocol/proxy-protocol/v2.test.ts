import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatIp, type Endpoint } from "../../base/ip.ts";
import {
  clientIdentity,
  clientIdentityTlv,
  decodeProxyHeader,
  encodeProxyHeader,
  ProxyProtocolError,
  type ProxyHeader,
} from "./v2.ts";

const uri = "spiffe://cluster.local/ns/shop/sa/front";
const header: ProxyHeader = {
  source: { address: "10.1.0.9", port: 41_234 },
  destination: { address: "10.96.0.1", port: 80 },
  tlvs: [clientIdentity(uri)],
};

function encoded(what: ProxyHeader): Uint8Array {
  const bytes = encodeProxyHeader(what);
  assert.ok(!(bytes instanceof ProxyProtocolError), String(bytes));
  return bytes;
}

/** Records as the codec makes them. */
function plain<T>(fields: { [Key in keyof T]: fc.Arbitrary<T[Key]> }): fc.Arbitrary<T> {
  return fc.record(fields, { noNullPrototype: true });
}

function problemOf(bytes: Uint8Array): unknown {
  const reading = decodeProxyHeader(bytes);
  return reading instanceof ProxyProtocolError ? reading.type : reading.kind;
}

function changed(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
}

test("F-066 a header of a TCP connection over IPv4 has the bytes that the specification gives it", () => {
  const expected =
    "0d0a0d0a000d0a515549540a" + // signature
    "2111" + // version 2, PROXY; TCP over IPv4
    "0036" + // 12 bytes of addresses, 3 + 39 of the TLV
    "0a010009" +
    "0a600001" +
    "a112" +
    "0050" +
    "d0" +
    "0027" +
    Buffer.from(uri).toString("hex");
  assert.equal(Buffer.from(encoded(header)).toString("hex"), expected);
});

test("F-066 a header of a TCP connection over IPv6 has the bytes that the specification gives it", () => {
  const six = {
    source: { address: "fd00::9", port: 1 },
    destination: { address: "fd00:1::5", port: 65_535 },
    tlvs: [],
  };
  assert.equal(
    Buffer.from(encoded(six)).toString("hex"),
    "0d0a0d0a000d0a515549540a2121" +
      "0024" +
      "fd000000000000000000000000000009" +
      "fd000001000000000000000000000005" +
      "0001ffff",
  );
});

test("ends of two address families share a header, the IPv4 one as a mapped address", () => {
  const mixed = { ...header, destination: { address: "fd00::1", port: 80 }, tlvs: [] };
  const bytes = encoded(mixed);
  assert.equal(bytes[13], 0x21);
  assert.equal(Buffer.from(bytes.subarray(16, 32)).toString("hex"), "00000000000000000000ffff0a010009");
  assert.deepEqual(decodeProxyHeader(bytes), { kind: "header", header: mixed, length: 52 });
});

test("any header that was encoded is decoded alike, whatever follows it, and asks for more while it is incomplete", () => {
  const address = fc
    .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
    .map((bytes) => formatIp(bytes) ?? "");
  const endpoint: fc.Arbitrary<Endpoint> = plain({ address, port: fc.integer({ min: 0, max: 65_535 }) });
  const tlv = plain({ type: fc.integer({ min: 0, max: 255 }), value: fc.uint8Array({ maxLength: 300 }) });
  fc.assert(
    fc.property(
      plain({ source: endpoint, destination: endpoint, tlvs: fc.array(tlv, { maxLength: 4 }) }),
      fc.uint8Array({ maxLength: 20 }),
      fc.nat(),
      (what, rest, cut) => {
        const bytes = encoded(what);
        const length = bytes.length;
        assert.deepEqual(decodeProxyHeader(Buffer.concat([bytes, rest])), { kind: "header", header: what, length });
        const some = cut % length;
        const partial = decodeProxyHeader(bytes.subarray(0, some));
        assert.ok(!(partial instanceof ProxyProtocolError));
        assert.equal(partial.kind, "incomplete");
        assert.ok(partial.kind === "incomplete" && partial.needed > some && partial.needed <= length);
      },
    ),
  );
});

test("any bytes are read, refused or waited for, and never beyond what they say of themselves", () => {
  const start = encoded(header);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 80 }),
        fc.tuple(fc.nat(start.length - 1), fc.integer({ min: 0, max: 255 })).map(([at, to]) => changed(start, at, to)),
        fc.uint8Array({ maxLength: 80 }).map((tail) => Buffer.concat([start.subarray(0, 16), tail])),
      ),
      (bytes) => {
        const reading = decodeProxyHeader(bytes);
        if (reading instanceof ProxyProtocolError) return;
        if (reading.kind === "incomplete") assert.ok(reading.needed > bytes.length);
        else assert.ok(reading.length <= bytes.length);
      },
    ),
  );
});

test("what is not exactly a header of version 2 for TCP is refused, and the reason says which part", () => {
  const bytes = encoded(header);
  assert.deepEqual(problemOf(Buffer.from("GET / HTTP/1.1\r\n")), { code: "proxy-protocol.signature" });
  assert.deepEqual(problemOf(Buffer.from("PROXY TCP4 1.2.3.4")), { code: "proxy-protocol.signature" });
  assert.deepEqual(problemOf(changed(bytes, 12, 0x11)), { code: "proxy-protocol.version", version: 1 });
  assert.deepEqual(problemOf(changed(bytes, 12, 0x22)), { code: "proxy-protocol.command", command: 2 });
  // Unspecified, UDP, Unix: understood by the specification, spoken by nobody here.
  for (const family of [0x00, 0x12, 0x22, 0x31, 0x41]) {
    assert.deepEqual(problemOf(changed(bytes, 13, family)), { code: "proxy-protocol.family", family });
  }
  assert.deepEqual(problemOf(changed(bytes, 14, 0, 11)), { code: "proxy-protocol.length", length: 11 });
  assert.deepEqual(problemOf(changed(bytes, 14, 0, 13)), { code: "proxy-protocol.tlv", at: 28 });
  assert.deepEqual(problemOf(changed(bytes, 29, 0, 40)), { code: "proxy-protocol.tlv", at: 28 });
  assert.deepEqual(problemOf(changed(bytes, 29, 0, 38)), { code: "proxy-protocol.tlv", at: 69 });
});

test("a header by which the sender speaks for itself is passed over", () => {
  assert.deepEqual(decodeProxyHeader(changed(encoded(header), 12, 0x20)), { kind: "local", length: 70 });
});

test("what does not fit into a header is not encoded", () => {
  const problem = (more: Partial<ProxyHeader>): unknown => {
    const bytes = encodeProxyHeader({ ...header, ...more });
    return bytes instanceof ProxyProtocolError && bytes.type;
  };
  assert.deepEqual(problem({ tlvs: [{ type: clientIdentityTlv, value: new Uint8Array(65_521) }] }), {
    code: "proxy-protocol.length",
    length: 65_536,
  });
  assert.equal(problem({ tlvs: [{ type: clientIdentityTlv, value: new Uint8Array(65_520) }] }), false);
  assert.deepEqual(problem({ source: { address: "fe80::1%eth0", port: 1 } }), {
    code: "proxy-protocol.address",
    address: "fe80::1%eth0",
  });
});
