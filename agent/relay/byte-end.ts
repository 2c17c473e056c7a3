/**
 * One end of a relayed connection, whatever carries it: bytes in order, an explicit half-close each way, and a reset that is
 * never mistaken for an end. Nothing is read before every reason to pause has been taken back.
 */

import type { TunnelError } from "../tunnel/tunnel.ts";

export interface ByteEnd {
  /** Who hears of this end; set before the first resume, which also tells what was lost meanwhile. */
  listener: EndListener;
  /** False: hold back until `drained`. After a reset bytes go nowhere. */
  write(chunk: Uint8Array): boolean;
  /** No more bytes: FIN, or END_STREAM. Comes after everything that was written. */
  end(): void;
  /** Abandons both directions: RST, or RST_STREAM(CONNECT_ERROR) (RFC 9113 8.5). */
  reset(): void;
  pause(reason: PauseReason): void;
  resume(reason: PauseReason): void;
}

export interface EndListener {
  data(from: ByteEnd, chunk: Uint8Array): void;
  /** The other side will send no more; it may still read. */
  ended(from: ByteEnd): void;
  drained(from: ByteEnd): void;
  /** The other side is gone with bytes possibly lost. Not called for a reset of our own. */
  reset(from: ByteEnd, cause: ResetCause): void;
  /** Once, last: nothing of this end is left. */
  closed(from: ByteEnd): void;
}

/** Why an end went without an orderly close. */
export type ResetCause =
  | { readonly kind: "tcp"; readonly errno: string } // the socket's error: ECONNRESET, EPIPE, ETIMEDOUT
  | { readonly kind: "stream"; readonly code: number } // RST_STREAM with this HTTP/2 error code
  | { readonly kind: "tunnel"; readonly error: TunnelError } // the tunnel that carried the stream broke
  | { readonly kind: "memory" }; // nobody reads what it brings, and there is no memory left to hold it

/** A pause is a set of reasons; bytes flow while it is empty. */
export type PauseReason = (typeof pauseReasons)[keyof typeof pauseReasons];

export const pauseReasons = {
  /** Nobody is there yet to hand the bytes to. */
  unjoined: 1,
  /** The other end takes no more for now. */
  full: 2,
} as const;

/** Before an end has an owner: nothing can have been read by then, but it may have been lost. */
export const nobody: EndListener = {
  data() {},
  ended() {},
  drained() {},
  reset() {},
  closed() {},
};
