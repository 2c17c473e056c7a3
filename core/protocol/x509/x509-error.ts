/** Why a certificate, a CSR or a bundle was refused. */
import { TypedError } from "../../base/errors.ts";

export class X509Error extends TypedError<
  | { readonly code: "x509.undecodable"; readonly what: "pem" | "certificate" | "csr" | "crl"; readonly reason: string }
  | { readonly code: "x509.no-uri-san" }
  | { readonly code: "x509.several-uri-sans"; readonly count: number }
  | { readonly code: "x509.not-spiffe"; readonly reason: string } // a SpiffeError's code
  | { readonly code: "x509.csr-too-large"; readonly bytes: number }
  | { readonly code: "x509.key-not-allowed"; readonly key: string }
  | { readonly code: "x509.signature-not-allowed"; readonly algorithm: string } // OID
  | { readonly code: "x509.proof-of-possession" } // the CSR is not signed by the key it names
  | { readonly code: "x509.not-an-issuer"; readonly reason: "not-a-ca" | "key-mismatch" | "key-not-allowed" }
  | { readonly code: "x509.issuer-expired"; readonly notAfterMs: number }
  | { readonly code: "x509.crl-too-large"; readonly bytes: number }
  | { readonly code: "x509.validity-too-long"; readonly seconds: number; readonly maxSeconds: number }
> {}
