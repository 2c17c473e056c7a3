/** Who speaks HTTP/2 in a tunnel: our own machine, or Node's, which stays as reference. Everything above is the same for both. */
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../core/base/clock.ts";
import { NodeClient } from "./node-http2/node-client.ts";
import { NodeServer } from "./node-http2/node-server.ts";
import { OwnClient } from "./own/own-client.ts";
import { OwnServer } from "./own/own-server.ts";
import { HeldMemory } from "./held-memory.ts";
import type { ServerSession, ServerSessionHost, TunnelPeer } from "./server-session.ts";
import { TlsSocketLink } from "./tls-socket-link.ts";
import { tunnelLimits, type ClientTunnel, type TunnelLimits } from "./tunnel.ts";

/** What is beneath TLS: TCP, or another tunnel's stream. */
export interface Transport extends Duplex {
  /** Octets that have come. */
  readonly bytesRead: number;
}

/** What both ends of a tunnel are given. */
export interface TunnelModules {
  readonly clock: Clock;
  readonly limits: TunnelLimits;
  readonly memory: HeldMemory;
  readonly socket: Transport;
}

/** What a tunnel is made with, whichever end of it we are. */
export interface EngineOptions {
  readonly clock: Clock;
  /** Default: our own. */
  readonly engine?: EngineName | undefined;
  /** Default: `tunnelLimits`. */
  readonly limits?: TunnelLimits | undefined;
  /** Shared by a worker's tunnels; default: there is always enough. */
  readonly memory?: HeldMemory | undefined;
}

interface Engine {
  /** @param tls connected; its peer has proven to be `peerIdentity`. */
  client(tls: TLSSocket, peerIdentity: string, modules: TunnelModules): ClientTunnel;
  /** @param tls accepted; its peer has proven to be `peer.identity`. */
  server(tls: TLSSocket, peer: TunnelPeer, host: ServerSessionHost, modules: TunnelModules): ServerSession;
}

export type EngineName = "own" | "node";

/** Who is going to speak HTTP/2 over this socket, and what they are to be given for it. */
export function engineOn(
  socket: Transport,
  { clock, engine = "own", limits = tunnelLimits, memory = new HeldMemory() }: EngineOptions,
): { readonly engine: Engine; readonly modules: TunnelModules } {
  return { engine: engines[engine], modules: { socket, clock, limits, memory } };
}

const engines: Readonly<Record<EngineName, Engine>> = {
  own: {
    client: (tls, peerIdentity, modules) =>
      new OwnClient(new TlsSocketLink(tls, modules.socket), peerIdentity, modules),
    server: (tls, peer, host, modules) => new OwnServer(new TlsSocketLink(tls, modules.socket), peer, host, modules),
  },
  node: {
    client: (tls, peerIdentity, modules) => new NodeClient(tls, peerIdentity, modules),
    server: (tls, peer, host, modules) => new NodeServer(tls, peer, host, modules),
  },
};
