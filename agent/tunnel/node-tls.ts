/** TLS by Node's own TLSSocket. */
import { Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls, createServer, type SecureContext, type Server, type TLSSocket } from "node:tls";
import type { Transport } from "./engine.ts";
import { forgetLegacyCertificates, keepPresented, keptOf, presentedAs, presentedBy } from "./peer-chain.ts";
import type {
  AcceptedSocket,
  ClientTls,
  ClientTlsOwner,
  Handshaking,
  PresentedClient,
  Secured,
  ServerTls,
  ServerTlsOwner,
} from "./tls-engine.ts";
import { alpn, distrustOf, handshakeError, secureContext, secureOptions, type TlsIdentity } from "./tls.ts";
import { TunnelError } from "./tunnel.ts";

export class NodeClientTls implements ClientTls {
  readonly #context: SecureContext;

  constructor(identity: TlsIdentity) {
    this.#context = secureContext(identity);
  }

  begin(socket: Transport, owner: ClientTlsOwner): Handshaking {
    if (!(socket instanceof Duplex)) throw new Error(nodeAlone);
    let isJudged = false;
    const tls: TLSSocket = connectTls({
      socket,
      secureContext: this.#context,
      // No name is sent and none is checked: who the peer must be, its owner says.
      servername: "",
      ALPNProtocols: alpn,
      rejectUnauthorized: true,
      checkServerIdentity: () => {
        isJudged = true;
        return owner.judge(presentedAs(presentedBy(tls)));
      },
    });
    forgetLegacyCertificates(tls);
    tls.on("error", (error: Error) => owner.failed(handshakeError(error)));
    tls.once("close", () => owner.failed(new TunnelError({ code: "tunnel.tls-failed", detail: "closed" })));
    tls.once("secureConnect", () => {
      // A session that skipped the check (a resumed one) is not let through.
      if (isJudged) return owner.secured(securedBy(tls));
      owner.failed(new TunnelError({ code: "tunnel.bad-identity", detail: "identity not checked" }));
    });
    return tls;
  }
}

export class NodeServerTls implements ServerTls {
  /** Handshakes in progress, by {@link endpointKey}. */
  readonly #owners = new Map<string, ServerTlsOwner>();
  #server: Server | undefined;

  useIdentity(identity: TlsIdentity): void {
    if (this.#server === undefined) this.#server = this.#create(identity);
    else this.#server.setSecureContext(secureOptions(identity));
  }

  accept(socket: AcceptedSocket, owner: ServerTlsOwner): void {
    if (!(socket instanceof Socket)) throw new Error(nodeAlone);
    const key = endpointKey(socket);
    if (key === undefined) return void socket.destroy();
    this.#owners.set(key, owner);
    socket.once("close", () => {
      if (this.#owners.get(key) === owner) this.#owners.delete(key);
    });
    this.#server?.emit("connection", socket);
  }

  close(): void {
    this.#server?.removeAllListeners();
  }

  #create(identity: TlsIdentity): Server {
    const server = createServer({
      ...secureOptions(identity),
      // As `ALPNProtocols` would choose; but this is the only place where Node shows us its socket before the handshake is over.
      ALPNCallback: chooseProtocol,
      requestCert: true,
      // Not left to TLS: it would hang up without telling us why. `checkClient` refuses, and there is no way around it.
      rejectUnauthorized: false,
      // Ours is absolute and counts from accept; this one restarts with every byte.
      handshakeTimeout: 120_000,
      allowHalfOpen: true,
    });
    server.on("secureConnection", (tls) => {
      const owner = this.#ownerOf(tls);
      if (owner === undefined) tls.destroy();
      else owner.secured(presentedClient(tls), securedBy(tls));
    });
    server.on("tlsClientError", (error, tls) => {
      this.#ownerOf(tls)?.failed(handshakeError(error), tls);
      tls.destroy();
    });
    return server;
  }

  #ownerOf(tls: TLSSocket): ServerTlsOwner | undefined {
    const key = endpointKey(tls);
    return key === undefined ? undefined : this.#owners.get(key);
  }
}

function presentedClient(tls: TLSSocket): PresentedClient {
  const kept = keptOf(tls);
  // Who names no protocol is refused for that, and nothing was kept.
  const certificates = kept.length > 0 ? kept : presentedBy(tls);
  const presented = presentedAs(certificates);
  if (tls.authorized || certificates.length === 0) return { presented, distrust: undefined };
  return { presented, distrust: distrustOf(String(tls.authorizationError)) };
}

function securedBy(tls: TLSSocket): Secured {
  return {
    protocol: tls.alpnProtocol === false ? undefined : (tls.alpnProtocol ?? undefined),
    isResumed: tls.isSessionReused(),
    by: { kind: "node", tls },
    onClosed: (listener) => void tls.once("close", listener),
    destroy: () => void tls.destroy(),
  };
}

function chooseProtocol(this: unknown, { protocols }: { readonly protocols: readonly string[] }): string | undefined {
  keepPresented(this as TLSSocket);
  return alpn.find((one) => protocols.includes(one));
}

/** Known before TLS and after it by both sockets alike; a tunnel is one TCP connection of one listener. */
function endpointKey(socket: Socket): string | undefined {
  const { remoteAddress, remotePort, localAddress } = socket;
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${String(remotePort)} ${String(localAddress)}`;
}

const nodeAlone = "Node's TLS is spoken over Node's own streams alone";
