/** A connection between a client and a server, understood by listening. */

/** What is looked for: HTTP/1, HTTP/2 and gRPC. */
export type SniffMode = "http";

/** `http`: HTTP/1. */
export type SniffedProtocol = "http" | "http2" | "grpc";

export interface RequestSink {
  /**
   * A request is over.
   * @param status of its answer; 0: none came. @param grpcStatus 0 to 16; -1: there is none. @param durationMs from its first octet
   * to the last one of its answer.
   */
  request(protocol: SniffedProtocol, status: number, grpcStatus: number, durationMs: number): void;
}

/**
 * Bytes are given as they pass, in that order, with the monotonic milliseconds at which they did. False: it is not understood, or not
 * any more; nothing is to be said to it from then on, and it counts nothing.
 */
export interface Conversation {
  client(bytes: Uint8Array, nowMs: number): boolean;
  server(bytes: Uint8Array, nowMs: number): boolean;
  /** The server sends no more. */
  serverEnded(nowMs: number): void;
  /** The connection is gone: requests that are open are over as they stand. */
  over(nowMs: number): void;
  /** Octets that it keeps until the next ones come, about. */
  readonly held: number;
}

/** What may be kept of one connection: where more would be needed, it is given up. */
export const mostHeldOctets = 20_480;
