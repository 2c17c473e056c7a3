/** Why a header block was not understood. Each ends the connection as COMPRESSION_ERROR (RFC 9113 4.3): the tables are out of step. */
import { TypedError } from "../../../base/errors.ts";

export class HpackError extends TypedError<
  | { readonly code: "hpack.truncated" } // the block ends inside a field
  | { readonly code: "hpack.integer-overflow" } // 2^31 or more, or written in more octets than that needs
  | { readonly code: "hpack.bad-index"; readonly index: number } // 0, or past the end of the dynamic table
  | { readonly code: "hpack.bad-huffman" } // RFC 7541 5.2: EOS inside, eight bits of padding or more, padding of zeros
  | { readonly code: "hpack.bad-table-size"; readonly fault: TableSizeFault; readonly limit: number } // limit in octets
> {}

/** RFC 7541 4.2 and 6.3: over what our settings allow, behind a field of the block, or owed since they were lowered. */
export type TableSizeFault = "above-limit" | "behind-a-field" | "missing";
