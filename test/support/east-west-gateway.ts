/**
 * An east-west gateway as our own pieces make one: ends the outer HBONE with its own certificate and forwards what is inside, which it cannot
 * read, to whoever it chooses for the authority.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import type { EngineName } from "../../agent/tunnel/engine.ts";
import { HboneServer, type IncomingStream } from "../../agent/tunnel/hbone-server.ts";
import type { TlsIdentity } from "../../agent/tunnel/tls.ts";
import { Relay, type RelayOutcome } from "../../agent/relay/relay.ts";
import { TcpEnd } from "../../agent/relay/tcp-end.ts";
import { systemClock } from "../../core/base/clock.ts";
import type { Endpoint } from "../../core/base/ip.ts";

export interface GatewayOptions {
  readonly address: string;
  readonly port?: number;
  readonly identity: TlsIdentity;
  readonly engine: EngineName;
  /** Where a stream goes, by its authority; a status to refuse it with; or "nowhere": it is taken and never answered. */
  readonly route: (authority: string) => Endpoint | number | "nowhere";
}

export class EastWestGateway {
  /** Headers of each CONNECT that came. */
  readonly requests: IncomingStream["headers"][] = [];
  /** How what was forwarded has ended, in the order of the ends. */
  readonly outcomes: RelayOutcome[] = [];
  /** TCP connections that came. */
  tunnels = 0;
  /** Of what goes on to the other network. */
  readonly forwarded: Socket[] = [];
  readonly #options: GatewayOptions;
  readonly #server: HboneServer;
  readonly #listener: Server;
  readonly #sockets: Socket[] = [];

  private constructor(options: GatewayOptions) {
    this.#options = options;
    const { engine, identity } = options;
    this.#server = new HboneServer({
      clock: systemClock,
      engine,
      onStream: (stream) => this.#take(stream),
      onRefused: () => {},
    });
    this.#server.useIdentity(identity);
    this.#listener = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      this.tunnels += 1;
      this.#sockets.push(socket);
      this.#server.accept(socket);
    });
  }

  static async start(options: GatewayOptions): Promise<EastWestGateway> {
    const gateway = new EastWestGateway(options);
    const { address, port = 15_008 } = options;
    await new Promise<void>((resolve) => gateway.#listener.listen(port, address, resolve));
    return gateway;
  }

  /** Tells its peers that it takes no new streams. */
  retire(): void {
    this.#server.retire();
  }

  close(): void {
    this.#listener.close();
    this.#server.destroy();
    for (const socket of [...this.#sockets, ...this.forwarded]) socket.destroy();
  }

  #take(stream: IncomingStream): void {
    this.requests.push(stream.headers);
    const way = this.#options.route(String(stream.headers[":authority"]));
    if (way === "nowhere") return;
    if (typeof way === "number") return stream.refuse(way);
    const socket = connect({ host: way.address, port: way.port, allowHalfOpen: true, noDelay: true });
    this.forwarded.push(socket);
    const refuse = (): void => stream.refuse(503);
    socket.once("error", refuse);
    socket.once("connect", () => {
      socket.removeListener("error", refuse);
      const relayEnded = (outcome: RelayOutcome): void => void this.outcomes.push(outcome);
      new Relay(stream.accept({ ":status": 200 }), new TcpEnd(socket), { relayEnded }).start();
    });
  }
}
