/** What a delta stream's client can do wrong, as its server sees it. */
import { TypedError } from "../../base/errors.ts";

export class XdsError extends TypedError<
  | { readonly code: "xds.no-node" } // the first request of a stream names who asks
  | { readonly code: "xds.unknown-type"; readonly typeUrl: string } // nothing is sent for it; the stream may go on
  | { readonly code: "xds.too-many-names"; readonly names: number }
  | { readonly code: "xds.too-far-behind"; readonly typeUrl: string } // end the stream: the next one begins with what the client holds
> {}
