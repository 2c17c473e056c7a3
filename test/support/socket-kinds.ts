/** The two kinds of sockets that ends of relays work on; what is held true of an end is held true of both. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { EndSocket } from "../../agent/relay/tcp-end.ts";
import { takesBareStreams, type EngineName, type Transport } from "../../agent/tunnel/engine.ts";
import type { AcceptedSocket } from "../../agent/tunnel/tls-engine.ts";
import { BareSocket } from "../../core/linux/bare-socket.ts";
import { BareStream } from "../../core/linux/bare-stream.ts";
import { LinuxError } from "../../core/linux/errno.ts";
import { connectBare } from "../../core/linux/sockets.ts";
import { acceptHandles } from "../../core/linux/tcp-handle.ts";

export type SocketKind = "bare" | "node";

export const socketKinds: readonly SocketKind[] = ["bare", "node"];

/** What tests use that don't ask for one: another file may run them again over the other (agent/worker/plain-sockets.test.ts). */
export const tested: { kind: SocketKind } = { kind: "bare" };

/** A connection to a port of loopback. */
export async function connectEnd(kind: SocketKind, port: number): Promise<EndSocket> {
  const host = "127.0.0.1";
  if (kind === "bare") {
    return new Promise((resolve, reject) => {
      const socket = connectBare({ remote: { address: host, port } }, (error) => {
        if (error === undefined) resolve(socket as BareSocket);
        else reject(error);
      });
      if (socket instanceof LinuxError) reject(socket);
    });
  }
  const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Listens on a port of loopback. */
export async function listenForEnds(kind: SocketKind, accepted: (socket: EndSocket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, accepted);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  if (kind === "bare") acceptHandles(server, (handle) => accepted(new BareSocket(handle)));
  return server;
}

/** The same for tunnels: over what that engine's TLS takes. */
export async function listenForTunnels(
  engine: EngineName | undefined,
  accepted: (socket: AcceptedSocket) => void,
): Promise<Server> {
  const server = await listenForEnds("node", (socket) => accepted(socket as Socket));
  if (isBareFor(engine)) acceptHandles(server, (handle) => accepted(new BareStream(new BareSocket(handle))));
  return server;
}

/** A connection to a port of loopback that a tunnel is to run over. */
export function connectForTunnel(engine: EngineName | undefined, port: number): Transport {
  const remote = { address: "127.0.0.1", port };
  if (!isBareFor(engine)) return connect({ host: remote.address, port, allowHalfOpen: true, noDelay: true });
  const stream = BareStream.connecting((connected) => connectBare({ remote }, connected));
  if (stream instanceof LinuxError) throw stream;
  return stream;
}

/** As if the path were gone. */
export function reset(socket: AcceptedSocket): void {
  if (socket instanceof BareStream) socket.reset();
  else socket.resetAndDestroy();
}

function isBareFor(engine: EngineName | undefined): boolean {
  return tested.kind === "bare" && takesBareStreams(engine);
}

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** An end, and the other side of it as an ordinary socket. @param isAccepted whether it is the end that was connected to. */
export async function socketPair(kind: SocketKind, isAccepted: boolean): Promise<readonly [EndSocket, Socket]> {
  const accepted = Promise.withResolvers<EndSocket>();
  const server = await listenForEnds(isAccepted ? kind : "node", (socket) => accepted.resolve(socket));
  const connected = await connectEnd(isAccepted ? "node" : kind, portOf(server));
  const other = await accepted.promise;
  server.close();
  return isAccepted ? [other, connected as Socket] : [connected, other as Socket];
}
