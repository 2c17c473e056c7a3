import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canonicalIp, formatEndpoint, formatIp, inPrefix, parseEndpoint, parseIp, socketIp } from "./ip.ts";

test("H039 every spelling of an address has one canonical form", () => {
  assert.equal(canonicalIp("::ffff:10.0.0.1"), "10.0.0.1");
  assert.equal(canonicalIp("::ffff:a00:1"), "10.0.0.1");
  assert.equal(canonicalIp("FD00:0:0:0:0:0:0:1"), "fd00::1");
  assert.equal(canonicalIp("2001:db8:0:0:1:0:0:1"), "2001:db8::1:0:0:1");
  assert.equal(canonicalIp("1:0:2:3:4:5:6:7"), "1:0:2:3:4:5:6:7");
  assert.equal(canonicalIp("::"), "::");
});

test("H039 what is no address has no canonical form", () => {
  for (const text of ["", "10.0.0", "10.0.0.256", "fe80::1%eth0", "localhost", "1::2::3"])
    assert.equal(canonicalIp(text), undefined, text);
  assert.equal(formatIp(new Uint8Array(5)), undefined);
});

test("H039 an address that a socket tells has the form that rules are written in, link-local ones too", () => {
  assert.equal(socketIp("::ffff:10.0.0.1"), "10.0.0.1");
  assert.equal(socketIp("fe80::1%eth0"), "fe80::1");
  assert.equal(socketIp("FE80::1%2"), "fe80::1");
  for (const text of ["", "%eth0", "localhost%eth0", "10.0.0.1.2"]) assert.equal(socketIp(text), undefined, text);
});

test("bytes survive the way to text and back", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const text = formatIp(bytes)!;
      assert.deepEqual(formatIp(parseIp(text)!), text);
      if (parseIp(text)!.length === 16) assert.deepEqual([...parseIp(text)!], [...bytes]);
    }),
  );
});

test("a prefix holds addresses of its own family only, to the bit", () => {
  const ten = parseIp("10.128.0.0")!;
  assert.ok(inPrefix(parseIp("10.255.1.2")!, ten, 9));
  assert.ok(!inPrefix(parseIp("10.127.1.2")!, ten, 9));
  assert.ok(!inPrefix(parseIp("fd00::1")!, ten, 0));
  assert.ok(inPrefix(parseIp("1.2.3.4")!, ten, 0));
});

test("an IPv6 endpoint is bracketed", () => {
  assert.equal(formatEndpoint({ address: "fd00::1", port: 80 }), "[fd00::1]:80");
  assert.equal(formatEndpoint({ address: "10.0.0.1", port: 80 }), "10.0.0.1:80");
});

test("an endpoint's text leads back to it, and other text to none", () => {
  for (const text of ["[fd00::1]:80", "10.0.0.1:65535"]) assert.equal(formatEndpoint(parseEndpoint(text)!), text);
  for (const text of ["", "10.0.0.1", "fd00::1:80", "10.0.0.1:65536", "[fd00::1]", "name:80"])
    assert.equal(parseEndpoint(text), undefined, text);
});
