/** istio.v1.auth.IstioCertificateService/CreateCertificate: a CSR in, a chain out (agent-wire 5, control-waypoint 6). */
import { X509Certificate, type KeyObject } from "node:crypto";
import { TypedError } from "../../base/errors.ts";
import type { IstioCertificateRequest, IstioCertificateResponse } from "../generated/ca.ts";
import { formatIdentity, parseIdentity, SpiffeError, type Identity } from "../spiffe/identity.ts";
import { validityOf, type Validity } from "../x509/certificate.ts";
import { certificateIdentity } from "../x509/peer-identity.ts";
import { certificatesOf } from "../x509/pem.ts";
import { X509Error } from "../x509/x509-error.ts";

/** For gRPC. */
export const createCertificatePath = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

export class CaError extends TypedError<
  | { readonly code: "ca.bad-impersonation"; readonly reason: string } // ImpersonatedIdentity is no SPIFFE id
  | { readonly code: "ca.short-chain"; readonly elements: number } // a leaf and roots are the least
  | { readonly code: "ca.bad-chain"; readonly element: number; readonly reason: string }
  | { readonly code: "ca.wrong-identity"; readonly wanted: string; readonly got: string }
  | { readonly code: "ca.wrong-key" } // the leaf is for another key
  | { readonly code: "ca.wrong-issuer" } // no certificate of the answer signed the leaf
> {}

/** What a caller asks of the authority; that it may is decided elsewhere. */
export interface CertificateOrder {
  readonly csrPem: string;
  /** int64 as it came; not positive: the authority's default. */
  readonly validitySeconds: bigint;
  /** The workload a node's agent asks for; absent: the caller itself. */
  readonly impersonated?: Identity;
}

/** A chain that fits the key and the identity it was asked for. */
export interface IssuedChain extends Validity {
  /** Leaf first, then intermediates, each its own PEM. */
  readonly chainPem: readonly string[];
  /** Every root, concatenated. */
  readonly rootsPem: string;
}

const impersonatedIdentity = "ImpersonatedIdentity";

export function createCertificateRequest(order: CertificateOrder): IstioCertificateRequest {
  const { csrPem, validitySeconds, impersonated } = order;
  return {
    csr: csrPem,
    validityDuration: validitySeconds,
    metadata: impersonated && { [impersonatedIdentity]: formatIdentity(impersonated) },
  };
}

export function parseCertificateRequest(message: IstioCertificateRequest): CertificateOrder | CaError {
  const order = { csrPem: message.csr, validitySeconds: message.validityDuration };
  // Own fields only: a field named __proto__ could pretend to more.
  const { metadata } = message;
  if (metadata === undefined || !Object.hasOwn(metadata, impersonatedIdentity)) return order;
  const named: unknown = metadata[impersonatedIdentity];
  if (typeof named !== "string") return new CaError({ code: "ca.bad-impersonation", reason: "not a string" });
  const impersonated = parseIdentity(named);
  return impersonated instanceof SpiffeError
    ? new CaError({ code: "ca.bad-impersonation", reason: impersonated.type.code })
    : { ...order, impersonated };
}

/** One certificate per element, and all roots together in the last: agents rely on both. */
export function createCertificateResponse(
  leafPem: string,
  intermediatesPem: readonly string[],
  rootsPem: string,
): IstioCertificateResponse {
  return { certChain: [leafPem, ...intermediatesPem, rootsPem] };
}

/** The chain, checked to be usable: identity and key are those asked for, and its issuer came along. TLS verifies the rest. */
export function parseCertificateResponse(
  message: IstioCertificateResponse,
  wanted: { readonly identity: Identity; readonly key: KeyObject },
): IssuedChain | CaError {
  const { certChain } = message;
  if (certChain.length < 2) return new CaError({ code: "ca.short-chain", elements: certChain.length });
  const bundles: string[][] = [];
  for (const [element, pem] of certChain.entries()) {
    const certificates = readable(pem);
    if (certificates instanceof X509Error) {
      return new CaError({ code: "ca.bad-chain", element, reason: certificates.message });
    }
    bundles.push(certificates);
  }
  // An authority may put leaf and intermediates into the first element together.
  const chainPem = bundles.slice(0, -1).flat();
  const roots = bundles.at(-1) ?? [];
  const [leafPem = ""] = chainPem;
  const leaf = new X509Certificate(leafPem);
  const identity = certificateIdentity(leaf);
  if (identity instanceof X509Error) {
    return new CaError({ code: "ca.bad-chain", element: 0, reason: identity.message });
  }
  const [want, got] = [formatIdentity(wanted.identity), formatIdentity(identity)];
  if (want !== got) return new CaError({ code: "ca.wrong-identity", wanted: want, got });
  if (!leaf.checkPrivateKey(wanted.key)) return new CaError({ code: "ca.wrong-key" });
  const issuers = chainPem.length > 1 ? chainPem.slice(1) : roots;
  if (!issuers.some((pem) => isIssuedBy(leaf, pem))) return new CaError({ code: "ca.wrong-issuer" });
  return { chainPem, rootsPem: roots.join(""), ...validityOf(leafPem) };
}

/** The certificates of one element, each of which OpenSSL can read. */
function readable(pem: string): string[] | X509Error {
  const certificates = certificatesOf(pem);
  if (certificates instanceof X509Error) return certificates;
  if (certificates.length === 0) {
    return new X509Error({ code: "x509.undecodable", what: "pem", reason: "no certificate" });
  }
  try {
    for (const one of certificates) new X509Certificate(one);
  } catch (thrown) {
    return new X509Error({ code: "x509.undecodable", what: "certificate", reason: String(thrown) });
  }
  return certificates;
}

function isIssuedBy(leaf: X509Certificate, issuerPem: string): boolean {
  const issuer = new X509Certificate(issuerPem);
  return leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey);
}
