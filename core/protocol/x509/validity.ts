/** How long a new leaf is to live, whatever was asked for. */
import type { Validity } from "./certificate.ts";
import { X509Error } from "./x509-error.ts";

/** How far certificates are dated back, for peers whose clocks are behind. */
export const backdateMs = 120_000;

export interface ValidityPolicy {
  /** For requests that name no time, or none that is positive. */
  readonly defaultSeconds: number;
  /** Asking for more is an error, not a shorter certificate. */
  readonly maxSeconds: number;
}

/** Never past the issuer's own end; an expired issuer signs nothing. @param requestedSeconds int64 as it came. */
export function leafValidity(
  requestedSeconds: bigint,
  policy: ValidityPolicy,
  issuer: Validity,
  wallMs: number,
): Validity | X509Error {
  if (wallMs >= issuer.notAfterMs) {
    return new X509Error({ code: "x509.issuer-expired", notAfterMs: issuer.notAfterMs });
  }
  if (requestedSeconds > BigInt(policy.maxSeconds)) {
    return new X509Error({
      code: "x509.validity-too-long",
      seconds: Number(requestedSeconds),
      maxSeconds: policy.maxSeconds,
    });
  }
  const seconds = requestedSeconds > 0n ? Number(requestedSeconds) : policy.defaultSeconds;
  return { notBeforeMs: wallMs - backdateMs, notAfterMs: Math.min(wallMs + seconds * 1000, issuer.notAfterMs) };
}
