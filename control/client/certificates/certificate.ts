/** What a workload shows its peers, and what can keep it from having it. */
import type { KeyObject } from "node:crypto";
import { TypedError } from "../../../core/base/errors.ts";
import type { Identity } from "../../../core/protocol/spiffe/identity.ts";

/** One identity's key and chain. The key is a handle: it is never exported, logged or written. */
export interface WorkloadCertificate {
  readonly identity: Identity;
  readonly key: KeyObject;
  /** Leaf first, then intermediates, one PEM each; no root. */
  readonly chainPem: readonly string[];
  /** The roots to trust, one or several PEM certificates. */
  readonly rootsPem: string;
  /** Upper-case hexadecimal, as the leaf carries it. */
  readonly serialNumber: string;
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  /** Milliseconds since 1970. */
  readonly notAfter: number;
}

export class CertificateError extends TypedError<
  | { readonly code: "certificate.unavailable"; readonly identity: string; readonly detail: string } // the authority can't be asked
  | { readonly code: "certificate.refused"; readonly identity: string; readonly detail: string } // it says no
  | { readonly code: "certificate.timeout"; readonly identity: string; readonly afterMs: number }
  | { readonly code: "certificate.bad-answer"; readonly identity: string; readonly problem: string } // it says something else than was asked
  | { readonly code: "certificate.bad-roots"; readonly problem: string }
  | { readonly code: "certificate.queue-full"; readonly identity: string; readonly queued: number } // a prefetch only; ask again on demand
  | { readonly code: "certificate.forgotten"; readonly identity: string } // its last pod left while the caller waited
  | { readonly code: "certificate.internal-bug"; readonly identity: string; readonly problem: string }
> {}

/** Where certificates come from: the mesh authority, files, a SPIFFE workload API. */
export interface CertificateProvider {
  /** A fresh key with a chain for it. Settles with an error, rather than throws, for all that a peer can cause; `signal` ends it early. */
  fetch(identity: Identity, signal: AbortSignal): Promise<WorkloadCertificate | CertificateError>;
}
