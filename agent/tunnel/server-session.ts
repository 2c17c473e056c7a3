/** What an engine makes of an accepted tunnel: a session whose streams go to the pod's inbound decision. */
import type { Endpoint } from "../../core/base/ip.ts";
import type { Headers } from "../../core/protocol/hbone/request.ts";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import type { TunnelError, TunnelStream } from "./tunnel.ts";

/** The other end of an accepted tunnel, as TCP and its certificate prove it. */
export interface TunnelPeer {
  readonly remote: Endpoint;
  /** The pod's own endpoint that was connected to. */
  readonly local: Endpoint;
  readonly identity: Identity;
}

/** A CONNECT, or whatever else the peer sent, that waits for its one answer. */
export interface IncomingStream {
  readonly headers: Headers;
  readonly peer: TunnelPeer;
  /** Called once if the peer takes it back, or its tunnel goes, before the answer. @param why the tunnel has gone. */
  onAbandoned: ((why?: TunnelError) => void) | undefined;
  /** Sends the 200; bytes flow as soon as the stream is resumed. */
  accept(headers: Readonly<Record<string, string | number>>): TunnelStream;
  /** Answers with a status and END_STREAM. @param headers beside it. */
  refuse(status: number, headers?: Readonly<Record<string, string>>): void;
}

export interface ServerSession {
  /** GOAWAY: it ends with its last stream. */
  retire(): void;
  /** For a tunnel that comes too late: whoever made it has a stream for it, and then it retires. */
  retireAfterFirst(): void;
  /** Ends at once, streams and all. @param why what they are told, where it is more than that we have ended it: then there is a GOAWAY, too. */
  destroy(why?: TunnelError): void;
  /** Keepalive; called about once a second. */
  tick(nowMs: number): void;
}

export interface ServerSessionHost {
  onStream(stream: IncomingStream): void;
  /** The client has begun to speak HTTP/2. */
  onBegun(): void;
  /** Once, last. */
  onClosed(error: TunnelError): void;
}
