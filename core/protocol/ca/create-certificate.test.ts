import assert from "node:assert/strict";
import { X509Certificate, type KeyObject } from "node:crypto";
import { suite, test } from "node:test";
import { IstioCertificateRequest, IstioCertificateResponse } from "../generated/ca.ts";
import { issueCertificate, selfSignedRoot } from "../x509/certificate.ts";
import { createKeyAndCsr, parseCsr } from "../x509/csr.ts";
import { X509Error } from "../x509/x509-error.ts";
import {
  CaError,
  createCertificateRequest,
  createCertificateResponse,
  parseCertificateRequest,
  parseCertificateResponse,
} from "./create-certificate.ts";

const wallMs = Math.floor(Date.now() / 1000) * 1000;
const life = { notBeforeMs: wallMs - 120_000, notAfterMs: wallMs + 3_600_000 };
const root = selfSignedRoot({ organisation: "cluster.local", ...life });
const otherRoot = selfSignedRoot({ organisation: "other", ...life });
const identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "reviews" };

function order(): { key: KeyObject; csrPem: string; leafPem: string } {
  const { key, csrPem } = createKeyAndCsr(identity);
  const request = parseCsr(csrPem);
  if (request instanceof X509Error) throw request;
  return { key, csrPem, leafPem: issueCertificate({ issuer: root, publicKey: request.publicKey, identity, ...life }) };
}

suite("a certificate order", () => {
  test("F-130 F-131 arrives as it was made, with the identity it is for", () => {
    const made = { csrPem: "csr", validitySeconds: 86_400n, impersonated: identity };
    const bytes = IstioCertificateRequest.encode(createCertificateRequest(made)).finish();
    assert.deepEqual(parseCertificateRequest(IstioCertificateRequest.decode(bytes)), made);
    const own = { csrPem: "csr", validitySeconds: -1n };
    const ownBytes = IstioCertificateRequest.encode(createCertificateRequest(own)).finish();
    assert.deepEqual(parseCertificateRequest(IstioCertificateRequest.decode(ownBytes)), own);
  });

  test("for somebody who is no SPIFFE id is refused, not taken for the caller's own", () => {
    for (const named of ["spiffe://td/ns/a/sa/..", "", 5, null, ["spiffe://td/ns/a/sa/b"]]) {
      const message = { csr: "csr", validityDuration: 0n, metadata: { ImpersonatedIdentity: named } };
      const bytes = IstioCertificateRequest.encode(message).finish();
      const parsed = parseCertificateRequest(IstioCertificateRequest.decode(bytes));
      assert.ok(parsed instanceof CaError && parsed.type.code === "ca.bad-impersonation", JSON.stringify(named));
    }
  });
});

suite("a certificate order in disguise", () => {
  test("names nobody through a field called __proto__", () => {
    const inner = Buffer.from(objectValue({ ImpersonatedIdentity: "spiffe://td/ns/a/sa/b" }));
    const struct = lengthDelimited(0x0a, lengthDelimited(0x0a, Buffer.from("__proto__")), lengthDelimited(0x12, inner));
    const bytes = Buffer.concat([Buffer.from([0x0a, 3]), Buffer.from("csr"), lengthDelimited(0x22, struct)]);
    const message = IstioCertificateRequest.decode(bytes);
    assert.deepEqual(parseCertificateRequest(message), { csrPem: "csr", validitySeconds: 0n });
  });

  /** google.protobuf.Value of an object with text in it. */
  function objectValue(fields: Record<string, string>): Uint8Array {
    const entries = Object.entries(fields).map(([key, text]) =>
      lengthDelimited(
        0x0a,
        lengthDelimited(0x0a, Buffer.from(key)),
        lengthDelimited(0x12, lengthDelimited(0x1a, Buffer.from(text))),
      ),
    );
    return lengthDelimited(0x2a, ...entries);
  }

  function lengthDelimited(tag: number, ...parts: Uint8Array[]): Buffer {
    const body = Buffer.concat(parts);
    assert.ok(body.length < 128);
    return Buffer.concat([Buffer.from([tag, body.length]), body]);
  }
});

suite("an authority's answer", () => {
  const { key, leafPem } = order();
  const wanted = { identity, key };
  const codeOf = (certChain: string[], as = wanted): string => {
    const parsed = parseCertificateResponse({ certChain }, as);
    return parsed instanceof CaError ? parsed.type.code : "no error";
  };

  test("F-130 is split into chain and roots, with the leaf's life", () => {
    const roots = root.certificatePem + otherRoot.certificatePem;
    const bytes = IstioCertificateResponse.encode(createCertificateResponse(leafPem, [], roots)).finish();
    assert.deepEqual(parseCertificateResponse(IstioCertificateResponse.decode(bytes), wanted), {
      chainPem: [leafPem],
      rootsPem: roots,
      ...life,
    });
  });

  test("F-132 H051 is refused where it could not be used", () => {
    assert.equal(codeOf([leafPem, root.certificatePem]), "no error");
    assert.equal(codeOf([leafPem]), "ca.short-chain");
    assert.equal(codeOf([]), "ca.short-chain");
    assert.equal(codeOf([leafPem, "nonsense"]), "ca.bad-chain");
    assert.equal(codeOf(["", root.certificatePem]), "ca.bad-chain");
    assert.equal(codeOf([root.certificatePem, root.certificatePem]), "ca.bad-chain");
    assert.equal(codeOf([leafPem, otherRoot.certificatePem]), "ca.wrong-issuer");
    assert.equal(codeOf([leafPem, root.certificatePem], { identity, key: order().key }), "ca.wrong-key");
    const somebodyElse = { ...identity, serviceAccount: "details" };
    assert.equal(codeOf([leafPem, root.certificatePem], { identity: somebodyElse, key }), "ca.wrong-identity");
  });

  test("ends with a leaf that Node accepts for that key", () => {
    assert.ok(new X509Certificate(leafPem).checkPrivateKey(key));
  });
});
