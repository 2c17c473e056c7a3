/**
 * One stream of a connection (RFC 9113 5.1):
 *
 *                 ┌─ half-closed-local ──┐
 *     (idle) ► open                      ├──► closed
 *                 └─ half-closed-remote ─┘
 *
 * Its windows are numbers here; who moves them is connection.ts.
 */
import type { AnswerHead } from "./message-head.ts";

export type StreamState = "open" | "half-closed-local" | "half-closed-remote" | "closed";

/** Why a stream ended before its time. */
export type StreamEnd =
  /** RST_STREAM came. */
  | { readonly by: "peer"; readonly errorCode: number }
  /** We had to: the peer broke the rules in this stream. */
  | { readonly by: "fault"; readonly errorCode: number; readonly detail: string }
  /** The peer's GOAWAY says that it never looked at it. */
  | { readonly by: "goaway" }
  /** The connection is gone. */
  | { readonly by: "connection" };

/** Who owns a stream. Nothing is called after `closed`. */
export interface StreamListener {
  /** The answer to a request of ours. `ended`: nothing follows; `ended()` is not called then. */
  answered(stream: H2Stream, head: AnswerHead, ended: boolean): void;
  /** Some data. A view of what the connection was given to read; it stays as it is for as long as that buffer does. */
  data(stream: H2Stream, piece: Uint8Array): void;
  /** END_STREAM: the peer sends no more. */
  ended(stream: H2Stream): void;
  /** After `send` took less than it was given: it would take some now. */
  writable(stream: H2Stream): void;
  /** It ended before its time. Not called for a reset of our own. */
  cut(stream: H2Stream, end: StreamEnd): void;
  /** Once, last. */
  closed(stream: H2Stream): void;
}

export class H2Stream {
  readonly id: number;
  state: StreamState = "open";
  listener: StreamListener;
  /** Octets that we may send. Negative after a SETTINGS that shrank it. */
  sendWindow: number;
  /** Octets that the peer may send. */
  receiveWindow: number;
  /** Octets that were consumed and not given back yet. */
  owed = 0;
  /** What comes next from the peer: the head of its message, or what follows it. */
  awaits: "head" | "content" = "head";
  /** Whether a server has answered it. */
  isAnswered = false;
  /** A CONNECT carries DATA and nothing else (RFC 9113 8.5). */
  readonly isConnect: boolean;
  /** Octets of content still announced by content-length. */
  contentLeft: number | undefined;
  /** Waits for a window, or for the transport. */
  isBlocked = false;

  constructor(
    id: number,
    listener: StreamListener,
    windows: { readonly send: number; readonly receive: number },
    isConnect: boolean,
  ) {
    this.id = id;
    this.listener = listener;
    this.sendWindow = windows.send;
    this.receiveWindow = windows.receive;
    this.isConnect = isConnect;
  }

  get maySend(): boolean {
    return this.state === "open" || this.state === "half-closed-remote";
  }

  get mayReceive(): boolean {
    return this.state === "open" || this.state === "half-closed-local";
  }
}

export function afterLocalEnd(state: StreamState): StreamState {
  return state === "open" ? "half-closed-local" : "closed";
}

export function afterRemoteEnd(state: StreamState): StreamState {
  return state === "open" ? "half-closed-remote" : "closed";
}

/** Before a stream has an owner, and after it has lost it. */
export const noListener: StreamListener = {
  answered() {},
  data() {},
  ended() {},
  writable() {},
  cut() {},
  closed() {},
};
