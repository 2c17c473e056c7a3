/** A CSR's key, a name that was earned elsewhere, and a life that is allowed: a leaf. */
import { X509Certificate } from "node:crypto";
import type { Identity } from "../../../core/protocol/spiffe/identity.ts";
import { issueCertificate, type Issuer } from "../../../core/protocol/x509/certificate.ts";
import { parseCsr } from "../../../core/protocol/x509/csr.ts";
import { leafValidity, type ValidityPolicy } from "../../../core/protocol/x509/validity.ts";
import { X509Error } from "../../../core/protocol/x509/x509-error.ts";

export interface IssuePolicy extends ValidityPolicy {
  /** Seconds that no leaf outlives, whatever was asked for; absent: `maxSeconds`, beyond which asking is an error. */
  readonly clampSeconds?: number;
}

export interface IssueOrder {
  readonly identity: Identity;
  /** Only its public key and proof of possession count. */
  readonly csrPem: string;
  /** int64 as it came; not positive: the default. */
  readonly validitySeconds: bigint;
  /** Milliseconds since 1970. */
  readonly wallMs: number;
}

export interface IssuedLeaf {
  readonly pem: string;
  readonly serialNumber: string;
  readonly notAfterMs: number;
}

/** Signs a leaf, or says what is wrong with the order. */
export function issueLeaf(issuer: Issuer, order: IssueOrder, policy: IssuePolicy): IssuedLeaf | X509Error {
  const request = parseCsr(order.csrPem);
  if (request instanceof X509Error) return request;
  const validity = leafValidity(order.validitySeconds, policy, issuer, order.wallMs);
  if (validity instanceof X509Error) return validity;
  const longestMs = (policy.clampSeconds ?? policy.maxSeconds) * 1000;
  const notAfterMs = Math.min(validity.notAfterMs, order.wallMs + longestMs);
  const leaf = { issuer, publicKey: request.publicKey, identity: order.identity, ...validity, notAfterMs };
  const pem = issueCertificate(leaf);
  return { pem, serialNumber: new X509Certificate(pem).serialNumber, notAfterMs };
}
