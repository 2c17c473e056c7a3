/** Certificates that no authority of ours would issue, for peers that show them. */
import { createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from "node:crypto";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { formatIdentity } from "../../core/protocol/spiffe/identity.ts";
import type { Issuer, Validity } from "../../core/protocol/x509/certificate.ts";
import {
  bits,
  boolean,
  decodeDer,
  encodeDer,
  explicit,
  implicit,
  octets,
  oid,
  sequence,
  set,
} from "../../core/protocol/x509/der.ts";
import { time, unsigned, utf8, type Der } from "../../core/protocol/x509/der.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  keyIdentifier,
  keyUsage,
  subjectKeyIdentifier,
} from "../../core/protocol/x509/extensions.ts";
import { formatPem } from "../../core/protocol/x509/pem.ts";
import { signWith } from "../../core/protocol/x509/signature.ts";
import { identityOf } from "../support/identities.ts";

const hour = 3_600_000;

export interface OddLeaf {
  readonly key?: KeyObject;
  /** Extended key usages. */
  readonly usages?: readonly ("serverAuth" | "clientAuth")[];
  readonly uris?: readonly string[];
  readonly validity?: Validity;
  /** It may sign others. */
  readonly isAuthority?: boolean;
}

/** A leaf of the issuer with something wrong about it. */
export function oddIdentity(issuer: Issuer, serviceAccount: string, odd: OddLeaf = {}): TlsIdentity {
  const identity = identityOf(serviceAccount);
  const key = odd.key ?? newKey();
  const uris = odd.uris ?? [formatIdentity(identity)];
  const chain = sign(issuer, key, odd.validity, [
    ...(odd.isAuthority === true ? [] : [keyUsage("leaf")]),
    extendedKeyUsage(...(odd.usages ?? (["serverAuth", "clientAuth"] as const))),
    basicConstraints(odd.isAuthority ?? false),
    authorityKeyIdentifier(issuer.keyIdentifier),
    uriAltNames(uris),
  ]);
  return asIdentity(serviceAccount, chain, key, issuer.certificatePem);
}

/** A leaf that was signed by another leaf, which is no authority. */
export function signedByLeaf(issuer: Issuer, serviceAccount: string): TlsIdentity {
  const between = subIssuer(issuer, "leaf", false);
  const { chain, key } = oddIdentity(between, serviceAccount);
  return asIdentityPem(serviceAccount, chain + between.certificatePem, key, issuer.certificatePem);
}

/** A leaf below so many authorities. */
export function longChain(issuer: Issuer, serviceAccount: string, length: number): TlsIdentity {
  let last = issuer;
  let above = "";
  for (let index = 0; index < length; index++) {
    last = subIssuer(last, `authority ${index}`, true);
    above = last.certificatePem + above;
  }
  const { chain, key } = oddIdentity(last, serviceAccount);
  return asIdentityPem(serviceAccount, chain + above, key, issuer.certificatePem);
}

/** RSA-1024, which nobody should take. */
export function weakKey(): KeyObject {
  return generateKeyPairSync("rsa", { modulusLength: 1_024 }).privateKey;
}

/** PEM of a certificate that says it is the issuer's own, and is signed by nobody but itself. */
export function impostorOf(issuer: Issuer, key: KeyObject): string {
  const { keyIdentifier: identifier, subject } = issuer;
  const extensions = [
    basicConstraints(true),
    keyUsage("authority"),
    subjectKeyIdentifier(identifier),
    authorityKeyIdentifier(identifier),
  ];
  return sign({ ...issuer, key }, key, undefined, extensions, subject);
}

/** Another authority, or a leaf that is taken for one. */
export function subIssuer(issuer: Issuer, organisation: string, isAuthority: boolean, key = newKey()): Issuer {
  const subject = encodeDer(sequence(set(sequence(oid("2.5.4.10"), utf8(organisation)))));
  const identifier = keyIdentifier(createPublicKey(key));
  const certificatePem = sign(
    issuer,
    key,
    undefined,
    [
      basicConstraints(isAuthority),
      keyUsage(isAuthority ? "authority" : "leaf"),
      subjectKeyIdentifier(identifier),
      authorityKeyIdentifier(issuer.keyIdentifier),
    ],
    subject,
  );
  const { notBeforeMs, notAfterMs } = issuer;
  return { certificatePem, key, subject, keyIdentifier: identifier, notBeforeMs, notAfterMs };
}

function sign(
  issuer: Issuer,
  key: KeyObject,
  validity: Validity = { notBeforeMs: Date.now() - hour, notAfterMs: Date.now() + hour },
  extensions: Der[] = [],
  subject: Buffer = encodeDer(sequence()),
): string {
  const signer = signWith(issuer.key);
  const body = sequence(
    explicit(0, unsigned(Uint8Array.of(2))),
    unsigned(randomBytes(16)),
    signer.algorithm,
    decodeDer(issuer.subject),
    sequence(time(validity.notBeforeMs), time(validity.notAfterMs)),
    decodeDer(subject),
    decodeDer(createPublicKey(key).export({ type: "spki", format: "der" })),
    explicit(3, sequence(...extensions)),
  );
  const signature = signer.sign(encodeDer(body));
  return formatPem("CERTIFICATE", encodeDer(sequence(body, signer.algorithm, bits(signature))));
}

/** Any number of URIs in one subjectAltName (RFC 5280 4.2.1.6). */
function uriAltNames(uris: readonly string[]): Der {
  const names = uris.map((uri) => implicit(6, Buffer.from(uri, "latin1")));
  return sequence(oid("2.5.29.17"), boolean(true), octets(encodeDer(sequence(...names))));
}

function newKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

function asIdentity(serviceAccount: string, chain: string, key: KeyObject, roots: string): TlsIdentity {
  return asIdentityPem(serviceAccount, chain, key.export({ type: "pkcs8", format: "pem" }) as string, roots);
}

function asIdentityPem(serviceAccount: string, chain: string, key: string, roots: string): TlsIdentity {
  return { identity: identityOf(serviceAccount), chain, key, roots, notAfter: Date.now() + hour };
}
