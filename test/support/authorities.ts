/** Certificate authorities as a company or another mesh would bring them: RSA keys, made by another library than ours. */
import forge from "node-forge";

export interface ForeignAuthority {
  readonly certificatePem: string;
  /** PKCS#1, as istiod writes it. */
  readonly keyPem: string;
}

/** @param issuer absent: it signs itself. */
export function foreignAuthority(name: string, issuer?: ForeignAuthority, isAuthority = true): ForeignAuthority {
  const keys = forge.pki.rsa.generateKeyPair({ bits: 2048 });
  const certificate = forge.pki.createCertificate();
  const subject = [{ name: "organizationName", value: name }];
  const signer = issuer && forge.pki.certificateFromPem(issuer.certificatePem);
  certificate.publicKey = keys.publicKey;
  certificate.serialNumber = "01";
  certificate.validity.notBefore = new Date("2020-01-01T00:00:00Z");
  certificate.validity.notAfter = new Date("2049-01-01T00:00:00Z");
  certificate.setSubject(subject);
  certificate.setIssuer(signer === undefined ? subject : signer.subject.attributes);
  certificate.setExtensions([
    { name: "basicConstraints", cA: isAuthority, critical: true },
    { name: "keyUsage", keyCertSign: isAuthority, digitalSignature: true, critical: true },
    { name: "subjectKeyIdentifier" },
  ]);
  const key = issuer === undefined ? keys.privateKey : forge.pki.privateKeyFromPem(issuer.keyPem);
  certificate.sign(key, forge.md.sha256.create());
  return {
    certificatePem: forge.pki.certificateToPem(certificate).replaceAll("\r\n", "\n"),
    keyPem: forge.pki.privateKeyToPem(keys.privateKey).replaceAll("\r\n", "\n"),
  };
}
