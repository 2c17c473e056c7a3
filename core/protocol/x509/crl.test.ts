import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes, X509Certificate } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { identityOf, testIdentity, testRoot } from "../../../test/support/identities.ts";
import { anyExtension, crlDer, crlPem, serialOf } from "../../../test/support/revocation.ts";
import { certificateId } from "./certificate-id.ts";
import { authorityOf, signedBy } from "./crl-signature.ts";
import { parseCrlFile, type RevocationList } from "./crl.ts";
import { boolean, encodeDer, implicit, oid, sequence, set, utf8 } from "./der.ts";
import { formatPem } from "./pem.ts";
import { hasSerial } from "./serial-set.ts";
import { X509Error } from "./x509-error.ts";

const root = testRoot("mesh");
const alice = testIdentity(root, identityOf("alice"));
const bob = testIdentity(root, identityOf("bob"));

function read(file: Uint8Array | string): RevocationList[] | X509Error {
  const steps = parseCrlFile(typeof file === "string" ? Buffer.from(file) : file);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

function listsOf(file: Uint8Array | string): RevocationList[] {
  const lists = read(file);
  if (lists instanceof X509Error) throw lists;
  return lists;
}

function names(list: RevocationList | undefined, pem: string): boolean {
  const id = certificateId(new X509Certificate(pem).raw);
  return list !== undefined && id !== undefined && id.issuer === list.issuer && hasSerial(list.serials, id.serial);
}

test("F-098 a list in DER names the certificates it revokes, by issuer and serial, and no other", () => {
  const [list, ...others] = listsOf(crlDer(root, [alice.chain]));
  assert.deepEqual(others, []);
  assert.equal(names(list, alice.chain), true);
  assert.equal(names(list, bob.chain), false);
  const stranger = testRoot("stranger");
  const namesake = testIdentity(stranger, identityOf("alice"));
  assert.equal(names(listsOf(crlDer(root, [namesake.chain]))[0], namesake.chain), false, "another authority's");
});

test("F-098 a PEM file may hold several lists among other blocks, and nothing at all revokes nothing", () => {
  const other = testRoot("other");
  const carol = testIdentity(other, identityOf("carol"));
  const file = `# ours\n${crlPem(root, [alice.chain])}${root.certificatePem}\n\n${crlPem(other, [carol.chain])}`;
  const lists = listsOf(file);
  assert.equal(lists.length, 2);
  assert.deepEqual([names(lists[0], alice.chain), names(lists[1], carol.chain)], [true, true]);
  assert.deepEqual([names(lists[1], alice.chain), names(lists[0], carol.chain)], [false, false]);
  assert.deepEqual(listsOf(file.replaceAll("\n", "\r\n")).length, 2);
  for (const nothing of ["", "\n \n", root.certificatePem]) assert.deepEqual(listsOf(nothing), []);
  assert.equal(listsOf(crlDer(root, []))[0]?.serials.size, 0);
});

test("F-098 an issuer that is spelt otherwise in the list than in certificates is the same issuer", () => {
  const spelt = encodeDer(sequence(set(sequence(oid("2.5.4.10"), utf8("  MESH ")))));
  assert.equal(names(listsOf(crlDer(root, [alice.chain], { name: spelt }))[0], alice.chain), true);
  const other = encodeDer(sequence(set(sequence(oid("2.5.4.10"), utf8("me sh")))));
  assert.equal(names(listsOf(crlDer(root, [alice.chain], { name: other }))[0], alice.chain), false);
});

test("H054 a file that is cut, or whose lists are not whole, is refused and says why", () => {
  const pem = crlPem(root, [alice.chain]);
  const der = crlDer(root, [alice.chain]);
  const bad: (string | Uint8Array)[] = [
    pem.slice(0, -20),
    pem.slice(0, 200),
    pem + pem.slice(0, 100),
    pem.replace("\n", "\n*"),
    pem.replace(/\n-----END/, "AAAA\n-----END"),
    "a list of sorts",
    der.subarray(0, -1),
    Buffer.concat([der, Buffer.of(0)]),
    formatPem("X509 CRL", new X509Certificate(root.certificatePem).raw),
  ];
  for (const file of bad) {
    const result = read(file);
    assert.ok(result instanceof X509Error, `${String(file).slice(0, 40)} was read`);
    assert.equal(result.type.code, "x509.undecodable");
  }
  const large = read(Buffer.alloc((32 << 20) + 1));
  assert.equal(large instanceof X509Error && large.type.code, "x509.crl-too-large");
});

test("H054 lists that say only half of it, or speak of other issuers, are refused", () => {
  const indirect = anyExtension("2.5.29.28", true, sequence(implicit(4, Uint8Array.of(0xff))));
  const odd = [
    { extensions: [anyExtension("2.5.29.27", true, utf8("delta"))] },
    { extensions: [indirect] },
    { entryExtensions: [anyExtension("2.5.29.29", true, sequence())] },
  ];
  for (const one of odd) assert.ok(read(crlDer(root, [alice.chain], one)) instanceof X509Error);
  const harmless = [
    { extensions: [anyExtension("2.5.29.28", true, sequence(implicit(1, Uint8Array.of(0xff))))] },
    { extensions: [anyExtension("2.5.29.20", false, boolean(true))] },
    { entryExtensions: [anyExtension("2.5.29.21", false, utf8("reason"))] },
    { extensions: [] },
  ];
  for (const one of harmless) assert.equal(names(listsOf(crlDer(root, [alice.chain], one))[0], alice.chain), true);
});

test("H054 whatever bytes a file has, it is read or refused, never thrown about", () => {
  const der = crlDer(root, [alice.chain, bob.chain]);
  const edits = fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(edits, (changes) => {
      const mutant = Buffer.from(der);
      for (const [at, octet] of changes) mutant[at] = octet;
      read(mutant);
    }),
    { numRuns: 2_000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void read(bytes)));
});

test("F-098 a list is its authority's word, or nobody's that we know, or forged", () => {
  const authority = authorityOf(new X509Certificate(root.certificatePem));
  assert.ok(authority);
  const stranger = testRoot("mesh");
  const word = (file: Buffer): string => signedBy(listsOf(file)[0]!, [authority]);
  assert.equal(word(crlDer(root, [alice.chain])), "verified");
  assert.equal(word(crlDer(root, [alice.chain], { signer: stranger })), "forged");
  // Same name, another key, and it says so: the list of a root that has been replaced.
  assert.equal(word(crlDer(stranger, [alice.chain])), "unknown");
  assert.equal(word(crlDer(testRoot("other"), [])), "unknown");
  const changed = crlDer(root, [alice.chain]);
  const at = changed.indexOf(serialOf(alice.chain).subarray(-8));
  changed[at + 7]! ^= 1;
  assert.equal(word(changed), "forged");
  assert.equal(authorityOf(new X509Certificate(alice.chain)), undefined);
});

test("F-098 when a list should have been replaced is known, in both forms of time, and may be missing", () => {
  const at = Date.UTC(2049, 11, 31, 23, 59, 59);
  assert.equal(listsOf(crlDer(root, [], { nextUpdateMs: at }))[0]?.nextUpdateMs, at);
  assert.equal(listsOf(crlDer(root, [], { nextUpdateMs: at + 1_000 }))[0]?.nextUpdateMs, at + 1_000);
  assert.equal(listsOf(crlDer(root, [], { nextUpdateMs: undefined }))[0]?.nextUpdateMs, undefined);
});

test("F-098 serials of every length and sign that an authority uses are found again", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.uint8Array({ minLength: 1, maxLength: 20 }), { maxLength: 40, comparator: same }),
      (all) => {
        const serials = all.filter((one) => one[0] !== 0);
        const [list] = listsOf(crlDer(root, serials));
        for (const one of serials) assert.equal(hasSerial(list!.serials, asInteger(one)), true);
        assert.equal(hasSerial(list!.serials, asInteger(randomBytes(21))), false);
      },
    ),
    { numRuns: 100 },
  );
});

test("F-098 openssl reads our test lists, and we read what openssl reads", () => {
  const printed = execFileSync("openssl", ["crl", "-inform", "DER", "-noout", "-text"], {
    input: crlDer(root, [alice.chain]),
    encoding: "utf8",
  });
  assert.match(printed, new RegExp(serialOf(alice.chain).toString("hex").replace(/^0+/, ""), "i"));
});

function same(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

function asInteger(octets: Uint8Array): Uint8Array {
  return (octets[0] ?? 0) >= 0x80 ? Uint8Array.of(0, ...octets) : octets;
}
