/** A client and a server application joined by two relays and a tunnel between them, as two agents would, on loopback. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { Relay, type RelayOutcome } from "../../agent/relay/relay.ts";
import { TcpEnd, type EndSocket } from "../../agent/relay/tcp-end.ts";
import { TunnelError, type ClientTunnel } from "../../agent/tunnel/tunnel.ts";
import { openStream, openTunnel, startServer, type TestServer } from "./hbone-pair.ts";
import { connectEnd, listenForEnds, portOf, tested } from "./socket-kinds.ts";

export interface RelayedPath {
  readonly tunnel: ClientTunnel;
  readonly server: TestServer;
  /** A new connection through both relays: both applications' sockets and how each relay ended. */
  readonly open: () => Promise<RelayedConnection>;
  readonly close: () => Promise<void>;
}

export interface RelayedConnection {
  readonly client: Socket;
  readonly application: Socket;
  /** How the relay on the client's side ended, and the one on the server's. */
  readonly outcomes: Promise<[RelayOutcome, RelayOutcome]>;
  /** The client's side. */
  readonly relay: Relay;
}

export async function relayedPath(): Promise<RelayedPath> {
  const applications: Socket[] = [];
  let wanted: ((socket: Socket) => void) | undefined;
  const application = await listen((socket) => {
    applications.push(socket);
    wanted?.(socket);
  });
  let inboundEnded: ((outcome: RelayOutcome) => void) | undefined;
  const server = await startServer({
    onStream: (stream) => {
      const ended = inboundEnded;
      void connectEnd(tested.kind, portOf(application)).then((socket) => {
        const first = stream.accept({ ":status": 200 });
        new Relay(first, new TcpEnd(socket), { relayEnded: (outcome) => ended?.(outcome) }).start();
      });
    },
  });
  const tunnel = await openTunnel(server.port);
  if (tunnel instanceof TunnelError) throw tunnel;
  const sockets: Socket[] = [];
  return { tunnel, server, open, close };

  async function open(): Promise<RelayedConnection> {
    const inbound = Promise.withResolvers<RelayOutcome>();
    const outbound = Promise.withResolvers<RelayOutcome>();
    inboundEnded = inbound.resolve;
    const captured = Promise.withResolvers<EndSocket>();
    const capture = await listenForEnds(tested.kind, (socket) => captured.resolve(socket));
    const client = connect({ port: portOf(capture), host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    const arrived = new Promise<Socket>((resolve) => (wanted = resolve));
    const socket = await captured.promise;
    capture.close();
    const stream = await openStream(tunnel as ClientTunnel);
    if (stream instanceof TunnelError) throw stream;
    const relay = new Relay(new TcpEnd(socket), stream, { relayEnded: outbound.resolve });
    relay.start();
    const appSocket = await arrived;
    sockets.push(client, appSocket);
    return { client, application: appSocket, outcomes: Promise.all([outbound.promise, inbound.promise]), relay };
  }

  async function close(): Promise<void> {
    (tunnel as ClientTunnel).destroy();
    await server.close();
    for (const socket of sockets) socket.destroy();
    application.close();
  }
}

function listen(accepted: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, accepted);
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}
