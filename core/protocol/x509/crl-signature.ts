/** Whether a revocation list is its authority's word. */
import type { X509Certificate } from "node:crypto";
import { extensionsOf } from "./certificate.ts";
import { childrenOf, decodeDer, encodeDer } from "./der.ts";
import { readSubjectKeyIdentifier } from "./extensions.ts";
import { nameKey } from "./name.ts";
import type { RevocationList } from "./crl.ts";
import { verifyWith } from "./signature.ts";

/** A certificate by which lists can be checked. */
export interface Authority {
  /** nameKey of its subject. */
  readonly name: string;
  readonly keyIdentifier: Uint8Array | undefined;
  readonly certificate: X509Certificate;
}

/** @returns undefined where it is no authority's certificate, or cannot be read. */
export function authorityOf(certificate: X509Certificate): Authority | undefined {
  if (!certificate.ca) return undefined;
  try {
    const tree = decodeDer(certificate.raw);
    // version [0], serial, signature, issuer, validity, subject
    const subject = childrenOf(childrenOf(tree)[0])[5];
    if (subject === undefined) return undefined;
    return {
      name: nameKey(encodeDer(subject)),
      keyIdentifier: readSubjectKeyIdentifier(extensionsOf(tree)),
      certificate,
    };
  } catch {
    return undefined;
  }
}

/** `unknown`: none of them can have signed it, by name and by key identifier. `forged`: one of them should have, and has not. */
export function signedBy(list: RevocationList, authorities: readonly Authority[]): "verified" | "unknown" | "forged" {
  const candidates = authorities.filter(({ name, keyIdentifier }) => {
    if (name !== list.issuer) return false;
    const { authorityKey } = list;
    return (
      authorityKey === undefined || keyIdentifier === undefined || Buffer.compare(authorityKey, keyIdentifier) === 0
    );
  });
  const { algorithm, data, value } = list.signature;
  for (const { certificate } of candidates) {
    if (verifyWith(algorithm, certificate.publicKey, data, value) === true) return "verified";
  }
  return candidates.length === 0 ? "unknown" : "forged";
}
