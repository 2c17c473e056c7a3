/** What OpenSSL has to say about a failure. Its errors stand in a queue of the thread, which Node's own TLS uses as well: we leave none. */
import type { Bindings, Ssl } from "./bindings.ts";
import {
  LIBRARY_SSL,
  libraryOf,
  REASON_ALERTS,
  REASON_NO_CERTIFICATE,
  REASON_VERIFY_FAILED,
  reasonOf,
} from "./constants.ts";
import { TlsError } from "./tls-error.ts";
import { verifyName } from "./verify-result.ts";

/** Before a call whose failure is asked about: what somebody else left there would be taken for it. */
export function forgetErrors(openssl: Bindings): void {
  if (openssl.peekError() !== 0) openssl.clearErrors();
}

/** The first of the queue, in OpenSSL's words, and nothing of what it has to add; the others are its consequences. */
export function takeReason(openssl: Bindings): string {
  return reasonFor(openssl, takeError(openssl));
}

/** Why a connection failed. To be asked at once. */
export function takeFailure(openssl: Bindings, ssl: Ssl): TlsError {
  const error = takeError(openssl);
  const reason = reasonFor(openssl, error);
  const number = libraryOf(error) === LIBRARY_SSL ? reasonOf(error) : 0;
  if (number === REASON_NO_CERTIFICATE) return new TlsError({ code: "tls.no-client-certificate", reason });
  if (number === REASON_VERIFY_FAILED) {
    return new TlsError({ code: "tls.certificate", verify: verifyName(openssl.verifyResult(ssl)), reason });
  }
  const alert = number - REASON_ALERTS;
  if (alert >= 0 && alert < 256) return new TlsError({ code: "tls.alert", alert, reason });
  return new TlsError({ code: "tls.protocol", reason });
}

function takeError(openssl: Bindings): number {
  const error = openssl.nextError();
  openssl.clearErrors();
  return error;
}

function reasonFor(openssl: Bindings, error: number): string {
  if (error === 0) return "no reason given";
  return openssl.errorReason(error) ?? `error ${error.toString(16)}`;
}
