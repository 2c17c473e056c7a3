import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { suite, test } from "node:test";
import fc from "fast-check";
import { selfSignedRoot } from "./certificate.ts";
import { createCsr, createKeyAndCsr, parseCsr } from "./csr.ts";
import { certificatesOf, formatPem, parsePem } from "./pem.ts";
import { X509Error } from "./x509-error.ts";

const root = selfSignedRoot({ organisation: "cluster.local", notBeforeMs: 0, notAfterMs: Date.UTC(2040, 0, 1) });
const reviews = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "reviews" };

function codeOf(value: unknown): string {
  return value instanceof X509Error ? value.type.code : "no error";
}

suite("a signing request", () => {
  test("F-130 is read as it was made", () => {
    const request = parseCsr(createKeyAndCsr(reviews).csrPem);
    assert.ok(!(request instanceof X509Error));
    assert.deepEqual(request.uris, ["spiffe://cluster.local/ns/shop/sa/reviews"]);
  });

  test("of every allowed kind of key is accepted", () => {
    const pairs = [
      generateKeyPairSync("ec", { namedCurve: "P-384" }),
      generateKeyPairSync("rsa", { modulusLength: 2048 }),
    ];
    for (const { privateKey, publicKey } of pairs) {
      const request = parseCsr(createCsr(privateKey, publicKey, "spiffe://td/ns/a/sa/b"));
      assert.ok(!(request instanceof X509Error), String((request as X509Error).message));
    }
  });

  const small = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const odd = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  const mine = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const theirs = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const good = createCsr(mine.privateKey, mine.publicKey, "spiffe://td/ns/a/sa/b");
  const refused: [string, string, string][] = [
    ["a small RSA key", createCsr(small.privateKey, small.publicKey, "spiffe://a"), "x509.key-not-allowed"],
    ["an odd curve", createCsr(odd.privateKey, odd.publicKey, "spiffe://a"), "x509.key-not-allowed"],
    ["another's key", createCsr(mine.privateKey, theirs.publicKey, "spiffe://a"), "x509.proof-of-possession"],
    ["1 MB of text", good + "x".repeat(1_000_000), "x509.csr-too-large"],
    ["two requests", good + good, "x509.undecodable"],
    ["a certificate in its place", root.certificatePem, "x509.undecodable"],
    ["another label", good.replaceAll("CERTIFICATE REQUEST", "PRIVATE KEY"), "x509.undecodable"],
    ["nothing", "", "x509.undecodable"],
    ["a block without an end", good.replace(/-----END.*/s, ""), "x509.undecodable"],
    ["base64 that isn't", good.replace("M", "?"), "x509.undecodable"],
    [
      "10,000 levels of nesting",
      formatPem("CERTIFICATE REQUEST", Buffer.from("3080".repeat(5_000), "hex")),
      "x509.undecodable",
    ],
  ];
  for (const [what, pem, code] of refused) {
    test(`is refused with ${what}`, () => assert.equal(codeOf(parseCsr(pem)), code));
  }

  test("damaged in any one place is refused, and nothing is thrown", () => {
    const [block] = parsePem(good) as { der: Buffer }[];
    for (let i = 0; i < block!.der.length * 8; i += 5) {
      const damaged = Buffer.from(block!.der);
      damaged[i >> 3]! ^= 1 << (i & 7);
      assert.ok(parseCsr(formatPem("CERTIFICATE REQUEST", damaged)) instanceof X509Error, `bit ${i}`);
    }
  });

  test("of any text whatever never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseCsr(text)));
    fc.assert(fc.property(fc.uint8Array(), (der) => void parseCsr(formatPem("CERTIFICATE REQUEST", der))));
  });
});

suite("PEM", () => {
  test("of any octets is read as it was written", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), (der) => {
        assert.deepEqual(parsePem(formatPem("CERTIFICATE", der)), [{ label: "CERTIFICATE", der: Buffer.from(der) }]);
      }),
    );
  });

  test("bundles are split, with what stands between the blocks skipped", () => {
    const bundle = `# first\n${root.certificatePem}\r\nsecond\n${root.certificatePem}`;
    assert.deepEqual(certificatesOf(bundle), [root.certificatePem, root.certificatePem]);
  });
});
