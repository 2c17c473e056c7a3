/**
 * A connection's life. Data lives in the variant that has it, and `Connection` is the only writer.
 *
 *     deciding ──► open ──► closing ──► closed
 *         │          └─────────────────────▲
 *         └────────────────────────────────┘
 */
import type { CloseCode } from "../../core/decision/close-reasons.ts";
import type { Relay } from "../relay/relay.ts";
import type { CloseDetails } from "./close-record.ts";

export type ConnectionState =
  /** Nothing has been relayed: where it goes, and whether it may, is not settled yet. */
  | { readonly phase: "deciding" }
  /** Bytes flow. */
  | { readonly phase: "open"; readonly relay: Relay }
  /** We ended it and say why; its sockets are still going. */
  | { readonly phase: "closing"; readonly relay: Relay; readonly reason: CloseCode; readonly details: CloseDetails }
  | { readonly phase: "closed"; readonly reason: CloseCode };

/** How a connection that ran ended, in the catalogue's words. */
export interface Ending {
  readonly reason: CloseCode;
  readonly details: CloseDetails;
}
