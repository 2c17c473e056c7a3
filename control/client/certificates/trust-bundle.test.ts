import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { issueCertificate, selfSignedRoot, type Issuer } from "../../../core/protocol/x509/certificate.ts";
import { CertificateError } from "./certificate.ts";
import { chainProblem, parseTrustBundle, type TrustBundle } from "./trust-bundle.ts";

const hour = 3_600_000;
const now = Date.UTC(2030, 0, 1);
const [root, other] = [newRoot(), newRoot()];

test("a leaf leads to its root, whatever else is in the bundle", () => {
  assert.equal(chainProblem([leaf(root)], bundle(other, root), now), undefined);
});

test("H052 while roots are exchanged leaves of both are good, and afterwards those of the old one are not", () => {
  const both = bundle(root, other);
  assert.equal(chainProblem([leaf(root)], both, now), undefined);
  assert.equal(chainProblem([leaf(other)], both, now), undefined);
  assert.match(chainProblem([leaf(root)], bundle(other), now) ?? "", /no root of the bundle/);
});

test("time counts: too early, too late, and a root that has ended", () => {
  const chain = [leaf(root)];
  assert.match(chainProblem(chain, bundle(root), now - 2 * hour) ?? "", /clocks/);
  assert.match(chainProblem(chain, bundle(root), now + 2 * hour) ?? "", /ended/);
  const shortRoot = newRoot(now + hour / 2);
  assert.match(chainProblem([leaf(shortRoot)], bundle(shortRoot), now + (3 * hour) / 4) ?? "", /root ended/);
});

test("a leaf can't vouch for another leaf", () => {
  const first = leaf(root);
  assert.match(chainProblem([leaf(other), first], bundle(root), now) ?? "", /not signed by the next|not an authority/);
});

test("an empty chain leads nowhere", () => {
  assert.equal(chainProblem([], bundle(root), now), "the chain is empty");
});

for (const [what, pem] of [
  ["nothing", ""],
  ["no PEM", "hello"],
  ["a leaf", leaf(root).toString()],
  ["half a certificate", root.certificatePem.slice(0, 200)],
  ["a hundred roots", root.certificatePem.repeat(100)],
  ["two megabytes", `${root.certificatePem}${" ".repeat(2 << 20)}`],
] as const) {
  test(`H053 a bundle of ${what} is refused`, () => {
    assert.ok(parseTrustBundle(pem) instanceof CertificateError);
  });
}

function bundle(...roots: readonly Issuer[]): TrustBundle {
  const parsed = parseTrustBundle(roots.map(({ certificatePem }) => certificatePem).join(""));
  assert.ok(!(parsed instanceof CertificateError));
  return parsed;
}

function newRoot(notAfterMs = now + 10 * hour): Issuer {
  return selfSignedRoot({ organisation: "cluster.local", notBeforeMs: now - hour, notAfterMs });
}

function leaf(issuer: Issuer): X509Certificate {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "cart" };
  return new X509Certificate(
    issueCertificate({ issuer, publicKey, identity, notBeforeMs: now - hour, notAfterMs: now + hour }),
  );
}
