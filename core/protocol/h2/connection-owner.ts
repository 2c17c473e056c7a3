/** What a connection asks of whoever owns it, and is told by it. */
import type { RequestHead } from "./message-head.ts";
import type { Transport } from "./send-side.ts";
import type { H2Stream } from "./stream.ts";

export interface ConnectionOwner extends Transport {
  /** Server: a request has come; the stream's listener is to be set now, and answered now or later. `ended`: no content follows. */
  request(stream: H2Stream, head: RequestHead, ended: boolean): void;
  /** The peer's first SETTINGS, or others, are in force. */
  settled(): void;
  /** The peer's GOAWAY: it takes no new streams, and has not looked at those of ours above `lastStreamId`. */
  leaving(lastStreamId: number, errorCode: number): void;
  /** The answer to a PING of ours. @param payload eight octets, valid during the call. */
  pong(payload: Uint8Array): void;
}

/** What we tell the peer about ourselves. Octets. */
export interface OwnSettings {
  readonly initialWindowSize: number;
  readonly maxFrameSize: number;
  readonly maxHeaderListSize: number;
  /** Servers only. */
  readonly maxConcurrentStreams?: number;
}
