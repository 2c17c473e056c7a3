/**
 * A tunnel inside a stream of another: through a gateway that forwards bytes and cannot read them, to whoever answers beyond it. Its peer proves
 * itself to us and not to the gateway; it serves one connection, since the next is for the gateway to send where it likes (agent-wire 3).
 */
import { openClientTunnel, type ClientTunnelOptions } from "../hbone-client.ts";
import type { ClientTunnel, TunnelError, TunnelStream } from "../tunnel.ts";
import { StreamDuplex } from "./stream-duplex.ts";

export interface InnerTunnelOptions extends Omit<ClientTunnelOptions, "socket" | "onConnected"> {
  /** The outer tunnel's stream, which nobody listens to yet; goes with the inner tunnel. */
  readonly carrier: TunnelStream;
}

/** Settles as {@link openClientTunnel} does. */
export function openInnerTunnel({ carrier, ...options }: InnerTunnelOptions): Promise<ClientTunnel | TunnelError> {
  return openClientTunnel({ ...options, socket: new StreamDuplex(carrier) });
}
