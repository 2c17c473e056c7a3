/**
 * Who speaks TLS and HTTP/2 in a tunnel: our own machines, or Node, which stays as reference. Everything above is the same for all.
 */
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../core/base/clock.ts";
import { loadOpenSsl } from "../../core/tls/openssl.ts";
import { TlsError } from "../../core/tls/tls-error.ts";
import { NodeClient } from "./node-http2/node-client.ts";
import { NodeServer } from "./node-http2/node-server.ts";
import { OwnClient } from "./own/own-client.ts";
import { OwnServer } from "./own/own-server.ts";
import { HeldMemory } from "./held-memory.ts";
import { NodeClientTls, NodeServerTls } from "./node-tls.ts";
import { OpensslClientTls, OpensslServerTls } from "./openssl-tls.ts";
import type { SecureLink } from "./secure-link.ts";
import type { ServerSession, ServerSessionHost, TunnelPeer } from "./server-session.ts";
import type { ClientTls, Secured, ServerTls } from "./tls-engine.ts";
import { TlsSocketLink } from "./tls-socket-link.ts";
import type { TlsIdentity } from "./tls.ts";
import { tunnelLimits, type ClientTunnel, type TunnelLimits } from "./tunnel.ts";

/** What is beneath TLS: TCP, with net.Socket or without, or another tunnel's stream. Its words mean what a Duplex' do. */
export interface Transport {
  /** Octets that have come. */
  readonly bytesRead: number;
  readonly writableLength: number;
  readonly writableCorked: number;
  readonly writableEnded: boolean;
  readonly writableFinished: boolean;
  readonly destroyed: boolean;
  /** Of a socket. */
  readonly connecting?: boolean;
  write(chunk: Uint8Array): boolean;
  cork(): void;
  uncork(): void;
  end(sent?: () => void): unknown;
  pause(): unknown;
  resume(): unknown;
  destroy(): unknown;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "drain", listener: () => void): unknown;
  once(event: "connect" | "end" | "finish" | "close", listener: () => void): unknown;
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

export interface Engine {
  /** Throws where TLS does not take the identity. */
  clientTls(identity: TlsIdentity): ClientTls;
  /** As {@link clientTls}, with its `useIdentity`. */
  serverTls(): ServerTls;
  /** @param secured by this engine's own TLS, and its peer has proven to be `peerIdentity`. */
  client(secured: Secured, peerIdentity: string, modules: TunnelModules): ClientTunnel;
  /** @param secured the same, and its peer has proven to be `peer.identity`. */
  server(secured: Secured, peer: TunnelPeer, host: ServerSessionHost, modules: TunnelModules): ServerSession;
}

/**
 * `own`: our HTTP/2 on the TLS machine of core/tls, or on Node's TLSSocket where this process has no OpenSSL to be called.
 * `own-on-node-tls`: always on TLSSocket. `node`: node:http2 on TLSSocket.
 */
export type EngineName = "own" | "own-on-node-tls" | "node";

export function engineOf(name: EngineName = "own"): Engine {
  return engines[name];
}

/** Whether that engine's TLS can be spoken over core/linux/bare-stream.ts: Node's own can't. */
export function takesBareStreams(name: EngineName = "own"): boolean {
  return name === "own" && !(loadOpenSsl() instanceof TlsError);
}

/** What both ends of a tunnel over this socket are to be given. */
export function modulesOn(
  socket: Transport,
  { clock, limits = tunnelLimits, memory = new HeldMemory() }: EngineOptions,
): TunnelModules {
  return { socket, clock, limits, memory };
}

const nodeTls = {
  clientTls: (identity: TlsIdentity): ClientTls => new NodeClientTls(identity),
  serverTls: (): ServerTls => new NodeServerTls(),
};

const ownHttp2: Pick<Engine, "client" | "server"> = {
  client: (secured, peerIdentity, modules) => new OwnClient(linkOf(secured, modules), peerIdentity, modules),
  server: (secured, peer, host, modules) => new OwnServer(linkOf(secured, modules), peer, host, modules),
};

const engines: Readonly<Record<EngineName, Engine>> = {
  own: {
    clientTls: (identity) => {
      const openssl = loadOpenSsl();
      return openssl instanceof TlsError ? nodeTls.clientTls(identity) : new OpensslClientTls(openssl, identity);
    },
    serverTls: () => {
      const openssl = loadOpenSsl();
      return openssl instanceof TlsError ? nodeTls.serverTls() : new OpensslServerTls(openssl);
    },
    ...ownHttp2,
  },
  "own-on-node-tls": { ...nodeTls, ...ownHttp2 },
  node: {
    ...nodeTls,
    client: (secured, peerIdentity, modules) => new NodeClient(tlsSocketOf(secured), peerIdentity, modules),
    server: (secured, peer, host, modules) => new NodeServer(tlsSocketOf(secured), peer, host, modules),
  },
};

function linkOf({ by }: Secured, { socket }: TunnelModules): SecureLink {
  return by.kind === "openssl" ? by.link : new TlsSocketLink(by.tls, socket);
}

function tlsSocketOf({ by }: Secured): TLSSocket {
  if (by.kind === "node") return by.tls;
  throw new Error("node:http2 speaks over Node's own TLS alone");
}
