/**
 * Who does TLS in tunnels, whichever end of it we are: OpenSSL as a machine of ours (openssl-tls.ts), or Node's TLSSocket (node-tls.ts),
 * which stays as fallback and oracle. Whom a peer may be is judged by neither: tls.ts does, for both.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { BareStream } from "../../core/linux/bare-stream.ts";
import type { Transport } from "./engine.ts";
import type { Presented } from "./peer-chain.ts";
import type { SecureLink } from "./secure-link.ts";
import type { TlsIdentity } from "./tls.ts";
import type { TunnelError } from "./tunnel.ts";

/** TCP that came to a tunnel port; bare only where {@link takesBareStreams}. */
export type AcceptedSocket = BareStream | Socket;

/** One identity as a client: made once, for all its handshakes. */
export interface ClientTls {
  /** @param socket connected, and nobody has read from it. */
  begin(socket: Transport, owner: ClientTlsOwner): Handshaking;
}

export interface ClientTlsOwner {
  /** The server's certificates, which lead to our roots. Once, before `secured`. @returns why it is refused. */
  judge(presented: Presented): TunnelError | undefined;
  secured(secured: Secured): void;
  /** May be called more than once, also in place of `secured`. */
  failed(error: TunnelError): void;
}

/** The server's end of one pod. */
export interface ServerTls {
  /** What handshakes are answered with from now on. To be called before the first `accept`. */
  useIdentity(identity: TlsIdentity): void;
  accept(socket: AcceptedSocket, owner: ServerTlsOwner): void;
  /** Nobody hears of anything any more. */
  close(): void;
}

export interface ServerTlsOwner {
  /** The handshake is over; whether the client is let in is not decided yet. */
  secured(client: PresentedClient, secured: Secured): void;
  /** @param what to destroy, with what is beneath it. */
  failed(error: TunnelError, what: Handshaking): void;
}

/** What a client's TLS says of it. */
export interface PresentedClient {
  /** Empty where it has shown none. */
  readonly presented: Presented;
  /** Why they do not lead to our roots. */
  readonly distrust: TunnelError | undefined;
}

export interface Handshaking {
  destroy(): void;
}

/** TLS is up. */
export interface Secured extends Handshaking {
  readonly protocol: string | undefined;
  readonly isResumed: boolean;
  readonly by:
    { readonly kind: "node"; readonly tls: TLSSocket } | { readonly kind: "openssl"; readonly link: SecureLink };
  /** @param listener called once there is no transport any more. */
  onClosed(listener: () => void): void;
}
