/** Why a CONNECT or its answer was not understood. As a server, each of them is answered with 400 on its own stream. */
import { TypedError } from "../../base/errors.ts";

export class HboneError extends TypedError<
  | { readonly code: "hbone.method"; readonly method: string } // not CONNECT
  | { readonly code: "hbone.pseudo-header"; readonly header: string } // RFC 9113 8.5: CONNECT has neither :scheme nor :path
  | { readonly code: "hbone.authority-missing" }
  | { readonly code: "hbone.bad-authority"; readonly authority: string } // cut to 256 characters
  | { readonly code: "hbone.bad-status" } // an answer without a status
  | { readonly code: "hbone.refused"; readonly status: number; readonly gone?: true } // an answer other than 200
  | { readonly code: "hbone.ended" } // a 200 that ends the stream at once
> {}
