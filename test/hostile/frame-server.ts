/** What plays a peer's 15008 for a client tunnel, and may misbehave: real mTLS, then whatever bytes the test writes. */
import type { AddressInfo } from "node:net";
import { createServer, type TLSSocket, type TlsOptions } from "node:tls";
import { secureOptions, type TlsIdentity } from "../../agent/tunnel/tls.ts";
import { bob } from "../support/hbone-pair.ts";
import type { Settings } from "./frame-peer.ts";
import { block, frameTypes, headers, preface, settings, type Frame } from "./frames.ts";
import { PeerEnd } from "./peer-end.ts";

export interface FrameServer {
  readonly port: number;
  /** Tunnels so far, in the order in which TLS was finished. */
  readonly tunnels: ServedTunnel[];
  readonly close: () => void;
}

export interface FrameServerOptions {
  readonly host?: string;
  readonly port?: number;
  readonly identity?: TlsIdentity;
  /** Over what a mesh peer would demand. */
  readonly tls?: TlsOptions;
  /** Called once TLS is up; nothing has been sent. */
  readonly onTunnel: (tunnel: ServedTunnel) => void;
}

export async function startFrameServer(options: FrameServerOptions): Promise<FrameServer> {
  const { host = "127.0.0.1", port = 0, identity = bob, onTunnel } = options;
  const tunnels: ServedTunnel[] = [];
  const server = createServer({
    ...secureOptions(identity),
    ALPNProtocols: ["h2"],
    requestCert: true,
    rejectUnauthorized: true,
    ...options.tls,
  });
  server.on("secureConnection", (tls) => {
    const tunnel = new ServedTunnel(tls);
    tunnels.push(tunnel);
    onTunnel(tunnel);
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    tunnels,
    close: () => {
      server.close();
      for (const { tls } of tunnels) tls.destroy();
    },
  };
}

export class ServedTunnel extends PeerEnd {
  constructor(tls: TLSSocket) {
    super(tls, preface.length);
  }

  /** The SETTINGS that a server begins with. */
  greet(entries: Settings = []): void {
    this.isPolite = true;
    this.send(settings(entries));
  }

  /** The next CONNECT that comes, by its place in the order of all. */
  request(index = 0): Promise<Frame> {
    const isIt = (): boolean => this.requests.length > index;
    return this.frame(`CONNECT number ${index}`, isIt).then(() => this.requests[index]!);
  }

  get requests(): readonly Frame[] {
    return this.frames.filter(({ type }) => type === frameTypes.headers);
  }

  accept(stream: number): void {
    this.send(answer(stream, "200"));
  }
}

/** An answer's HEADERS. */
export function answer(stream: number, status: string, flag?: number): Buffer {
  return headers(stream, block([[":status", status]]), flag);
}
