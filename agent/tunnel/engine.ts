/** Who speaks HTTP/2 in a tunnel: our own machine, or Node's, which stays as reference. Everything above is the same for both. */
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../core/base/clock.ts";
import { NodeClient } from "./node-http2/node-client.ts";
import { NodeServer } from "./node-http2/node-server.ts";
import { OwnClient } from "./own/own-client.ts";
import { OwnServer } from "./own/own-server.ts";
import type { HeldMemory } from "./held-memory.ts";
import type { ServerSession, ServerSessionHost, TunnelPeer } from "./server-session.ts";
import type { ClientTunnel, TunnelLimits } from "./tunnel.ts";

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

export interface Engine {
  /** @param tls connected; its peer has proven to be `peerIdentity`. */
  client(tls: TLSSocket, peerIdentity: string, modules: TunnelModules): ClientTunnel;
  /** @param tls accepted; its peer has proven to be `peer.identity`. */
  server(tls: TLSSocket, peer: TunnelPeer, host: ServerSessionHost, modules: TunnelModules): ServerSession;
}

export type EngineName = "own" | "node";

export const engines: Readonly<Record<EngineName, Engine>> = {
  own: {
    client: (tls, peerIdentity, modules) => new OwnClient(tls, peerIdentity, modules),
    server: (tls, peer, host, modules) => new OwnServer(tls, peer, host, modules),
  },
  node: {
    client: (tls, peerIdentity, modules) => new NodeClient(tls, peerIdentity, modules),
    server: (tls, peer, host, modules) => new NodeServer(tls, peer, host, modules),
  },
};
