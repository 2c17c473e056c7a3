/** What goes wrong in TLS, as data. Nothing of a key, of what is sent or of a session is ever in it. */
import { TypedError } from "../base/errors.ts";

export class TlsError extends TypedError<
  /** This program has no OpenSSL that can be called, or another one than it says. */
  | { readonly code: "tls.unusable"; readonly detail: string }
  /** An identity or a setting that OpenSSL does not take. @see TlsSettings */
  | { readonly code: "tls.bad-setting"; readonly setting: string; readonly reason: string }
  /** A client showed no certificate. */
  | { readonly code: "tls.no-client-certificate"; readonly reason: string }
  /** The peer's chain does not hold. `verify` is Node's name for why: CERT_HAS_EXPIRED, … */
  | { readonly code: "tls.certificate"; readonly verify: string; readonly reason: string }
  /** The peer broke it off and said why. `alert` is the number (RFC 8446 B.2), `reason` OpenSSL's words for it. */
  | { readonly code: "tls.alert"; readonly alert: number; readonly reason: string }
  /** What came is not TLS, or not such as we speak. `reason` is OpenSSL's words, as in the `reason` of Node's errors. */
  | { readonly code: "tls.protocol"; readonly reason: string }
  /** The transport ended before the peer said that it would: what came may not be all. */
  | { readonly code: "tls.truncated"; readonly within: "handshake" | "stream" }
> {}
