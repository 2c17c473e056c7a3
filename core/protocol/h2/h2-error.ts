/** Why an HTTP/2 connection had to end. */
import { TypedError } from "../../base/errors.ts";
import type { AbuseAccount } from "./abuse-budget.ts";
import { errorCodes } from "./error-code.ts";

export class H2Error extends TypedError<
  /** The peer broke RFC 9113. @property errorCode what its GOAWAY said. */
  | { readonly code: "h2.protocol"; readonly errorCode: number; readonly detail: string }
  /** Nothing that it sent is forbidden, but nobody needs so much of it. */
  | { readonly code: "h2.abuse"; readonly account: AbuseAccount }
  /** What came first is not the client connection preface (RFC 9113 3.4), or no SETTINGS follow. @property began printable. */
  | { readonly code: "h2.no-preface"; readonly began: string }
> {
  /** For the GOAWAY. */
  get errorCode(): number {
    switch (this.type.code) {
      case "h2.protocol":
        return this.type.errorCode;
      case "h2.abuse":
        return errorCodes.ENHANCE_YOUR_CALM;
      case "h2.no-preface":
        return errorCodes.PROTOCOL_ERROR;
    }
  }
}

export function protocolError(detail: string, errorCode: number = errorCodes.PROTOCOL_ERROR): H2Error {
  return new H2Error({ code: "h2.protocol", errorCode, detail });
}
