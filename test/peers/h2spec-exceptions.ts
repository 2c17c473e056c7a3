/**
 * The cases of h2spec that our server does not pass, by its engine, each with what RFC 9113 says. h2spec was written for RFC 7540.
 * Our own engine passes all of them.
 */
import type { EngineName } from "../../agent/tunnel/engine.ts";

export interface H2specException {
  /** As {@link H2specReport} has it. */
  readonly name: string;
  /** `allowed`: RFC 9113 permits it. `fault`: it does not, and node:http2 does it. */
  readonly kind: "allowed" | "fault";
  readonly reason: string;
}

const closedStreams =
  "5.1: what comes on a closed stream MAY be taken for an error, and may as well be processed minimally and dropped";

const ofNode: readonly H2specException[] = [
  {
    name: "http2/5.1: closed: Sends a DATA frame after sending RST_STREAM frame",
    kind: "allowed",
    reason: closedStreams,
  },
  {
    name: "http2/5.1: closed: Sends a HEADERS frame after sending RST_STREAM frame",
    kind: "allowed",
    reason: closedStreams,
  },
  { name: "http2/5.1: closed: Sends a DATA frame", kind: "allowed", reason: closedStreams },
  { name: "http2/5.1: closed: Sends a HEADERS frame", kind: "allowed", reason: closedStreams },
  {
    name: "http2/5.1.1: Sends stream identifier that is numerically smaller than previous",
    kind: "fault",
    reason:
      "5.1.1 wants PROTOCOL_ERROR; to nghttp2 the lower stream is closed already, since a higher one closes all idle ones below it",
  },
  {
    name: "http2/5.3.1: Sends PRIORITY frame that depend on itself",
    kind: "allowed",
    reason: "5.3.2: priorities are deprecated, PRIORITY frames may be ignored, and the rule on dependencies is gone",
  },
  {
    name: "http2/6.3: Sends a PRIORITY frame with 0x0 stream identifier",
    kind: "fault",
    reason: "6.3 wants PROTOCOL_ERROR; nghttp2 ignores PRIORITY whole",
  },
  {
    name: "http2/6.7: Sends a PING frame with ACK",
    kind: "allowed",
    reason:
      "6.7 forbids to answer it, and it isn't answered; node:http2 ends the connection, which 5.4.1 leaves to an endpoint",
  },
  {
    name: "http2/6.9.1: Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
    kind: "allowed",
    reason: "5.4.1: an endpoint MAY treat a stream error as a connection error",
  },
];

export const h2specExceptions: Readonly<Record<EngineName, readonly H2specException[]>> = {
  own: [],
  "own-on-node-tls": [],
  node: ofNode,
};
