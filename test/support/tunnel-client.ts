/** A peer that opens a tunnel by hand, as node:http2 does it, and sends what headers it likes. */
import { connect as connectHttp2, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { secureOptions, type TlsIdentity } from "../../agent/tunnel/tls.ts";
import type { Endpoint } from "../../core/base/ip.ts";

export interface Answer {
  /** 0: reset instead of an answer. */
  readonly status: number;
  readonly baggage: string;
  /** It says that its pod takes no new connections. */
  readonly isGone: boolean;
  readonly stream: ClientHttp2Stream;
}

export class TunnelClient {
  readonly session: ClientHttp2Session;

  /**
   * @param from the TCP peer's address that the server will see.
   * @param socket a connection between the two, if one is there already.
   */
  constructor(
    to: Endpoint,
    as: TlsIdentity,
    from: string,
    socket = connect({ host: to.address, port: to.port, localAddress: from }),
  ) {
    const tls = connectTls({
      socket,
      ...secureOptions(as),
      ALPNProtocols: ["h2"],
      checkServerIdentity: () => undefined,
    });
    this.session = connectHttp2("https://x", { createConnection: () => tls });
    this.session.on("error", () => {});
  }

  /** One CONNECT, answered. */
  connect(authority: string, headers: Readonly<Record<string, string | string[]>> = {}): Promise<Answer> {
    const stream = this.session.request(
      { ":method": "CONNECT", ":authority": authority, ...headers },
      { endStream: false },
    );
    stream.on("error", () => {});
    return new Promise((resolve) => {
      stream.once("response", (answer) => {
        resolve({
          status: Number(answer[":status"]),
          baggage: String(answer["baggage"] ?? ""),
          isGone: answer["x-ambientd-gone"] !== undefined,
          stream,
        });
      });
      stream.once("close", () => resolve({ status: 0, baggage: "", isGone: false, stream }));
    });
  }

  async status(authority: string, headers?: Readonly<Record<string, string | string[]>>): Promise<number> {
    const { status, stream } = await this.connect(authority, headers);
    stream.close();
    return status;
  }

  close(): void {
    this.session.destroy();
  }
}
