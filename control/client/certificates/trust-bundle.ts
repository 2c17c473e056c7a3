/** The roots a certificate answer brings, and whether a chain leads to one of them. */
import { X509Certificate } from "node:crypto";
import { messageOf } from "../../../core/base/errors.ts";
import { certificatesOf } from "../../../core/protocol/x509/pem.ts";
import { X509Error } from "../../../core/protocol/x509/x509-error.ts";
import { CertificateError } from "./certificate.ts";

export interface TrustBundle {
  readonly roots: readonly X509Certificate[];
}

/** Every certificate of a PEM text, each one an authority. Text between them is ignored, as PEM allows. */
export function parseTrustBundle(pem: string): TrustBundle | CertificateError {
  if (pem.length > longestPem) return badRoots(`${pem.length} characters are more than ${longestPem}`);
  const blocks = certificatesOf(pem);
  if (blocks instanceof X509Error) return badRoots(blocks.message);
  if (blocks.length > mostRoots) return badRoots(`${blocks.length} certificates are more than ${mostRoots}`);
  try {
    const roots = blocks.map((block) => new X509Certificate(block));
    const other = roots.find((root) => !root.ca);
    return other === undefined ? { roots } : badRoots(`certificate ${other.serialNumber} is not an authority's`);
  } catch (thrown) {
    return badRoots(messageOf(thrown));
  }
}

/**
 * What keeps `chain` (leaf first, each signed by the next) from leading to a root at `wallMs`, or undefined when it does.
 * @param wallMs milliseconds since 1970
 */
export function chainProblem(
  chain: readonly X509Certificate[],
  { roots }: TrustBundle,
  wallMs: number,
): string | undefined {
  for (const [index, certificate] of chain.entries()) {
    const place = index === 0 ? "the leaf" : `intermediate ${index}`;
    if (certificate.validFromDate.getTime() > wallMs)
      return `${place} is not valid before ${certificate.validFrom}: do the clocks agree?`;
    if (certificate.validToDate.getTime() <= wallMs) return `${place} ended at ${certificate.validTo}`;
    const issuer = chain[index + 1];
    if (index > 0 && !certificate.ca) return `${place} is not an authority's`;
    if (issuer !== undefined && !isSignedBy(certificate, issuer))
      return `${place} is not signed by the next certificate`;
  }
  const last = chain.at(-1);
  if (last === undefined) return "the chain is empty";
  const root = roots.find((candidate) => last.raw.equals(candidate.raw) || isSignedBy(last, candidate));
  if (root === undefined) return "no root of the bundle signed the chain";
  if (root.validToDate.getTime() <= wallMs) return `its root ended at ${root.validTo}`;
  return undefined;
}

function isSignedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function badRoots(problem: string): CertificateError {
  return new CertificateError({ code: "certificate.bad-roots", problem });
}

const longestPem = 1 << 20;
const mostRoots = 64;
