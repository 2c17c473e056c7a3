/**
 * What the rest of the agent knows of HBONE: tunnels that carry streams, whatever speaks HTTP/2 beneath. Two engines may stand
 * behind it: our own (own/), and node:http2 as reference (node-http2/).
 */
import { TypedError } from "../../core/base/errors.ts";
import type { ByteEnd } from "../relay/byte-end.ts";
import type { ConnectResponse } from "../../core/protocol/hbone/response.ts";

/** Why there is no tunnel, or no stream in it. Plain data: given to every waiter, logged, compared in tests. */
export class TunnelError extends TypedError<
  | { readonly code: "tunnel.connect-failed"; readonly errno: string } // TCP
  | { readonly code: "tunnel.connect-timeout"; readonly afterMs: number } // TCP
  | { readonly code: "tunnel.tls-timeout"; readonly afterMs: number }
  | { readonly code: "tunnel.tls-failed"; readonly detail: string } // OpenSSL's code or alert
  | { readonly code: "tunnel.certificate-expired" | "tunnel.certificate-not-yet-valid" }
  | { readonly code: "tunnel.certificate-untrusted" | "tunnel.certificate-unfit"; readonly detail: string }
  | { readonly code: "tunnel.certificate-revoked"; readonly serial: string } // hexadecimal
  | { readonly code: "tunnel.bad-identity"; readonly detail: string } // not exactly one SPIFFE id
  | { readonly code: "tunnel.san-mismatch"; readonly presented: string; readonly accepted: readonly string[] }
  | { readonly code: "tunnel.not-h2"; readonly alpn: string }
  | { readonly code: "tunnel.no-preface"; readonly afterMs: number } // TLS, but no HTTP/2
  | { readonly code: "tunnel.bad-preface"; readonly began: string } // TLS, and then something else
  | { readonly code: "tunnel.no-client-certificate" }
  | { readonly code: "tunnel.trust-domain"; readonly presented: string }
  | { readonly code: "tunnel.resumed" } // nobody can, as no ticket is ever given
  | { readonly code: "tunnel.no-certificate"; readonly detail: string } // ours
  | { readonly code: "tunnel.unresponsive" } // no PONG for 20 s
  | { readonly code: "tunnel.lost"; readonly detail: string }
  | { readonly code: "tunnel.no-room" } // the peer allows no stream
  | { readonly code: "tunnel.protocol-error"; readonly detail: string }
  | { readonly code: "tunnel.abuse"; readonly account: string } // more of it than anybody needs
  | { readonly code: "tunnel.stream-refused" } // REFUSED_STREAM: certainly not looked at
  | { readonly code: "tunnel.stream-reset"; readonly h2: number } // before the answer
  | { readonly code: "tunnel.answer-timeout"; readonly afterMs: number }
  | { readonly code: "tunnel.refused"; readonly status: number; readonly gone?: true } // an answer other than 200
  | { readonly code: "tunnel.bad-answer"; readonly detail: string }
> {}

/** One CONNECT's bytes. Its reset is RST_STREAM(CONNECT_ERROR). */
export interface TunnelStream extends ByteEnd {
  /** HTTP/2 stream id; for logs only. */
  readonly id: number;
}

/** Who asked for a stream: hears one of the two, once. */
export interface StreamOpener {
  opened(stream: TunnelStream, response: ConnectResponse): void;
  failed(error: TunnelError): void;
}

/** The client's side of one tunnel. */
export interface ClientTunnel {
  /** SPIFFE URI that the peer proved. */
  readonly peerIdentity: string;
  /** Monotonic milliseconds. */
  readonly bornMs: number;
  readonly phase: TunnelPhase;
  /** Streams that may be begun now. */
  readonly room: number;
  /** Streams that are reserved or open. */
  readonly streams: number;
  /** Takes room for one stream in the same turn in which it was seen. */
  reserve(): void;
  /** Gives unused room back. */
  release(): void;
  /** Uses the room that was reserved. @param headers of the CONNECT. @param withinMs for its answer, 10,000 when missing. */
  open(headers: Readonly<Record<string, string>>, opener: StreamOpener, withinMs?: number): void;
  /** Takes no further stream; ends with its last one. */
  retire(): void;
  /** Ends at once, streams and all. @param why what they are told, where it is more than that we have ended it. */
  destroy(why?: TunnelError): void;
  /** Keepalive; called about once a second. */
  tick(nowMs: number): void;
  /** Called whenever room or phase may have changed. */
  changed: (() => void) | undefined;
}

export type TunnelPhase = "open" | "retired" | "closed";

/** What a tunnel is told about its size. Octets, where not said otherwise. */
export interface TunnelLimits {
  /** That a peer may send in one stream before it is read, and in all of a tunnel. */
  readonly streamWindow: number;
  readonly connectionWindow: number;
  readonly maxFrameSize: number;
  /** Streams that a client opens in one tunnel, unless the peer allows fewer. */
  readonly clientStreams: number;
}

/** Wire parameters (agent-wire 2.3). */
export const tunnelLimits = {
  streamWindow: 4 << 20,
  connectionWindow: 16 << 20,
  maxFrameSize: 1 << 20,
  clientHeaderList: 16 << 10,
  serverHeaderList: 64 << 10,
  /** Streams a server lets a peer open. */
  serverStreams: 200,
  /** Streams a client opens in one tunnel, unless the peer allows fewer. */
  clientStreams: 100,
  pingEveryMs: 10_000,
  pongWithinMs: 20_000,
} as const;
