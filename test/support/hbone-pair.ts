/** Two halves of HBONE on loopback in one process: a server that hands its streams to the test, and tunnels to it. */
import type { AddressInfo } from "node:net";
import { systemClock, type Clock } from "../../core/base/clock.ts";
import type { Revocations } from "../../agent/revocation/revocations.ts";
import { engineOf, type EngineName } from "../../agent/tunnel/engine.ts";
import { openClientTunnel } from "../../agent/tunnel/hbone-client.ts";
import { HboneServer, type IncomingStream } from "../../agent/tunnel/hbone-server.ts";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import type { AcceptedSocket } from "../../agent/tunnel/tls-engine.ts";
import type { TunnelError } from "../../agent/tunnel/tunnel.ts";
import {
  type ClientTunnel,
  type StreamOpener,
  type TunnelLimits,
  type TunnelStream,
} from "../../agent/tunnel/tunnel.ts";
import { formatIdentity } from "../../core/protocol/spiffe/identity.ts";
import { connectForTunnel, listenForTunnels, reset } from "./socket-kinds.ts";
import { identityOf, testIdentity, testRoot } from "./identities.ts";

export const root = testRoot();
export const alice = testIdentity(root, identityOf("alice"));
export const bob = testIdentity(root, identityOf("bob"));
export const bobUri = formatIdentity(bob.identity);

export interface TestServer {
  readonly port: number;
  readonly hbone: HboneServer;
  readonly refusals: TunnelError[];
  readonly accepted: () => number;
  /** As if the path were gone: RST on every TCP connection. */
  readonly resetConnections: () => void;
  readonly close: () => Promise<void>;
}

/** Listens on 127.0.0.1 as bob unless told otherwise. */
export async function startServer(options: {
  onStream?: (stream: IncomingStream) => void;
  identity?: TlsIdentity | undefined;
  clock?: Clock;
  deadlineMs?: number;
  engine?: EngineName;
  limits?: TunnelLimits;
  revocations?: Revocations;
}): Promise<TestServer> {
  const refusals: TunnelError[] = [];
  let accepted = 0;
  const sockets: AcceptedSocket[] = [];
  const hbone = new HboneServer({
    clock: options.clock ?? systemClock,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
    engine: options.engine,
    limits: options.limits,
    revocations: options.revocations,
    onStream: options.onStream ?? ((stream) => stream.refuse(503)),
    onRefused: (error) => refusals.push(error),
  });
  if (!("identity" in options)) hbone.useIdentity(bob);
  else if (options.identity !== undefined) hbone.useIdentity(options.identity);
  const server = await listenForTunnels(options.engine, (socket) => {
    accepted += 1;
    sockets.push(socket);
    hbone.accept(socket);
  });
  return {
    port: (server.address() as AddressInfo).port,
    hbone,
    refusals,
    accepted: () => accepted,
    resetConnections: () => sockets.forEach(reset),
    close: async () => {
      hbone.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export function openTunnel(
  port: number,
  options: {
    as?: TlsIdentity;
    accepted?: readonly string[];
    clock?: Clock;
    revocations?: Revocations | undefined;
    deadlineMs?: number;
    engine?: EngineName;
    limits?: TunnelLimits;
  } = {},
): Promise<ClientTunnel | TunnelError> {
  return openClientTunnel({
    socket: connectForTunnel(options.engine, port),
    context: engineOf(options.engine).clientTls(options.as ?? alice),
    trust: { roots: (options.as ?? alice).roots, revocations: options.revocations },
    accepted: options.accepted ?? [bobUri],
    clock: options.clock ?? systemClock,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
    engine: options.engine,
    limits: options.limits,
  });
}

/** Opens a stream in a tunnel whose room has been reserved already or is reserved here. */
export function openStream(tunnel: ClientTunnel, authority = "10.0.0.1:80"): Promise<TunnelStream | TunnelError> {
  tunnel.reserve();
  return new Promise((resolve) => {
    const opener: StreamOpener = { opened: (stream) => resolve(stream), failed: resolve };
    tunnel.open({ ":method": "CONNECT", ":authority": authority }, opener);
  });
}
