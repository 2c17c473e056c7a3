/** X.509 version 3 certificates of a mesh: its root, its workloads' leaves and its control plane's serving certificate (RFC 5280). */
import { createPublicKey, generateKeyPairSync, randomBytes, X509Certificate, type KeyObject } from "node:crypto";
import { formatIdentity, type Identity } from "../spiffe/identity.ts";
import { bits, childrenOf, decodeDer, encodeDer, explicit, oid, sequence, set, time, unsigned, utf8 } from "./der.ts";
import { isTagged, type Der } from "./der.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  keyIdentifier,
  keyUsage,
  readSubjectKeyIdentifier,
  serverAltNames,
  subjectKeyIdentifier,
  uriAltName,
} from "./extensions.ts";
import { formatPem } from "./pem.ts";
import { refuseKey, signWith } from "./signature.ts";
import { X509Error } from "./x509-error.ts";

/** From and until when, milliseconds since 1970; certificates hold whole seconds. */
export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A certificate that may sign others, with its key. */
export interface Issuer extends Validity {
  readonly certificatePem: string;
  readonly key: KeyObject;
  /** DER of the subject, copied into what it issues as it stands. */
  readonly subject: Buffer;
  readonly keyIdentifier: Buffer;
}

/** A new P-256 root whose subject is `O=organisation`; keep the key in a file of its own. */
export function selfSignedRoot(root: { readonly organisation: string } & Validity): Issuer {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const subject = sequence(set(sequence(oid(organisationName), utf8(root.organisation))));
  const identifier = keyIdentifier(publicKey);
  const certificatePem = certificate({
    issuer: { key: privateKey, subject: encodeDer(subject) },
    subject,
    publicKey,
    validity: root,
    extensions: [
      basicConstraints(true),
      keyUsage("authority"),
      subjectKeyIdentifier(identifier),
      authorityKeyIdentifier(identifier),
    ],
  });
  const { notBeforeMs, notAfterMs } = validityOf(certificatePem);
  return {
    certificatePem,
    key: privateKey,
    subject: encodeDer(subject),
    keyIdentifier: identifier,
    notBeforeMs,
    notAfterMs,
  };
}

/** A certificate and its key as read from files, checked to belong together and to be an authority's. */
export function openIssuer(certificatePem: string, key: KeyObject): Issuer | X509Error {
  let parsed: X509Certificate;
  let tree: Der;
  try {
    parsed = new X509Certificate(certificatePem);
    tree = decodeDer(parsed.raw);
  } catch (thrown) {
    return new X509Error({ code: "x509.undecodable", what: "certificate", reason: String(thrown) });
  }
  if (!parsed.ca) return new X509Error({ code: "x509.not-an-issuer", reason: "not-a-ca" });
  if (!parsed.checkPrivateKey(key)) return new X509Error({ code: "x509.not-an-issuer", reason: "key-mismatch" });
  if (refuseKey(key)) return new X509Error({ code: "x509.not-an-issuer", reason: "key-not-allowed" });
  const fields = childrenOf(childrenOf(tree)[0]);
  // version [0], serial, signature, issuer, validity, subject
  const subject = fields[5];
  if (subject === undefined) return new X509Error({ code: "x509.not-an-issuer", reason: "not-a-ca" });
  return {
    certificatePem,
    key,
    subject: encodeDer(subject),
    keyIdentifier: readSubjectKeyIdentifier(extensionsOf(tree)) ?? keyIdentifier(parsed.publicKey),
    ...validityOf(certificatePem),
  };
}

/** A workload's leaf: empty subject, one critical URI SAN, for both ends of TLS. @returns PEM. */
export function issueCertificate(
  leaf: {
    readonly issuer: Issuer;
    readonly publicKey: KeyObject;
    readonly identity: Identity;
    /** 16 octets; random where absent. */
    readonly serial?: Uint8Array;
  } & Validity,
): string {
  return certificate({
    issuer: leaf.issuer,
    subject: sequence(),
    publicKey: leaf.publicKey,
    validity: leaf,
    ...(leaf.serial && { serial: leaf.serial }),
    extensions: [
      keyUsage("leaf"),
      extendedKeyUsage("serverAuth", "clientAuth"),
      basicConstraints(false),
      authorityKeyIdentifier(leaf.issuer.keyIdentifier),
      uriAltName(formatIdentity(leaf.identity)),
    ],
  });
}

/** The control plane's own certificate for the DNS names and addresses it is reached by, with a new P-256 key. */
export function serverCertificate(server: { readonly issuer: Issuer; readonly names: readonly string[] } & Validity): {
  readonly key: KeyObject;
  readonly certificatePem: string;
} {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const certificatePem = certificate({
    issuer: server.issuer,
    subject: sequence(),
    publicKey,
    validity: server,
    extensions: [
      keyUsage("leaf"),
      extendedKeyUsage("serverAuth"),
      basicConstraints(false),
      authorityKeyIdentifier(server.issuer.keyIdentifier),
      serverAltNames(server.names),
    ],
  });
  return { key: privateKey, certificatePem };
}

/** Validity of the first certificate in `pem`, which must be one. */
export function validityOf(pem: string): Validity {
  const { validFromDate, validToDate } = new X509Certificate(pem);
  return { notBeforeMs: validFromDate.getTime(), notAfterMs: validToDate.getTime() };
}

/** Extensions of a Certificate tree: TBSCertificate's `[3]`. */
export function extensionsOf(tree: Der): readonly Der[] {
  const tagged = childrenOf(childrenOf(tree)[0]).filter((field) => isTagged(field, 3));
  return tagged.flatMap((field) => childrenOf(childrenOf(field)[0]));
}

const organisationName = "2.5.4.10";

function certificate(parts: {
  readonly issuer: Pick<Issuer, "key" | "subject">;
  readonly subject: Der;
  readonly publicKey: KeyObject;
  readonly validity: Validity;
  readonly serial?: Uint8Array;
  readonly extensions: Der[];
}): string {
  const { issuer, validity } = parts;
  const signer = signWith(issuer.key);
  const publicKey = parts.publicKey.type === "public" ? parts.publicKey : createPublicKey(parts.publicKey);
  const body = sequence(
    explicit(0, unsigned(Uint8Array.of(2))), // v3
    unsigned(parts.serial ?? randomBytes(16)),
    signer.algorithm,
    decodeDer(issuer.subject),
    sequence(time(validity.notBeforeMs), time(validity.notAfterMs)),
    parts.subject,
    decodeDer(publicKey.export({ type: "spki", format: "der" })),
    explicit(3, sequence(...parts.extensions)),
  );
  const signature = signer.sign(encodeDer(body));
  return formatPem("CERTIFICATE", encodeDer(sequence(body, signer.algorithm, bits(signature))));
}
