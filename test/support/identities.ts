/** Certificates for tests: a root, and leaves for whoever is named. */
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import { issueCertificate, selfSignedRoot, type Issuer } from "../../core/protocol/x509/certificate.ts";
import { createKeyAndCsr } from "../../core/protocol/x509/csr.ts";
import { createPublicKey } from "node:crypto";

const hour = 3_600_000;

export function testRoot(organisation = "test"): Issuer {
  return selfSignedRoot({ organisation, notBeforeMs: Date.now() - hour, notAfterMs: Date.now() + 24 * hour });
}

export function identityOf(serviceAccount: string, namespace = "default", trustDomain = "cluster.local"): Identity {
  return { trustDomain, namespace, serviceAccount };
}

/** A certificate of an hour unless told otherwise. */
export function testIdentity(
  issuer: Issuer,
  identity: Identity,
  validity = { notBeforeMs: Date.now() - 60_000, notAfterMs: Date.now() + hour },
): TlsIdentity {
  const { key } = createKeyAndCsr(identity);
  const chain = issueCertificate({ issuer, publicKey: createPublicKey(key), identity, ...validity });
  return {
    identity,
    chain,
    key: key.export({ type: "pkcs8", format: "pem" }) as string,
    roots: issuer.certificatePem,
    notAfter: validity.notAfterMs,
  };
}
