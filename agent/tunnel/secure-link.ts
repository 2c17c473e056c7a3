/**
 * A tunnel's bytes once TLS is up, whoever does TLS: Node's TLSSocket, or the OpenSSL machine of core/tls. Everything above is the
 * same for both.
 */
import type { TunnelError } from "./tunnel.ts";

export interface SecureLink {
  /** Set once, before the turn in which the link was made is over. */
  listener: LinkListener;
  /** Octets that were written and have not been taken by the transport beneath. */
  readonly queued: number;
  /** Octets that have come from the peer, TLS's own included. */
  readonly carried: number;
  /** Nothing is left of the transport. */
  readonly isClosed: boolean;
  /** What is written is used up when `write` returns; else it must not change until it is sent. */
  readonly takesAtOnce: boolean;
  /** In order, in as few records as they fit into. After `end` they go nowhere. */
  write(pieces: readonly Uint8Array[]): void;
  /** Sends what was written, says goodbye (close_notify), and half-closes. @param sent once all of that is with the transport. */
  end(sent: () => void): void;
  /** To be called about once a second: memory that only traffic needs is given back where there has been none. */
  rest(): void;
  /** Hears the peer no more; its transport stays as it is. */
  deafen(): void;
  /** Closes as soon as what was written is with the transport. */
  close(): void;
  /** Closes at once. */
  destroy(): void;
}

export interface LinkListener {
  /** @param bytes lent for the call: @see lending. @param records of TLS that brought them. */
  received(bytes: Uint8Array, records: number): void;
  /** What was queued is with the transport. */
  drained(): void;
  /** The peer says no more: in order (close_notify), or by closing its transport. */
  ended(): void;
  /** Before `closed`. */
  failed(error: TunnelError): void;
  /** Once, last. */
  closed(): void;
}

/** Before a link has an owner. */
export const nobodyLinked: LinkListener = { received() {}, drained() {}, ended() {}, failed() {}, closed() {} };
