/** The way to a tunnel: TCP and TLS to a peer's 15008, and the proof that it is who it should be. What then speaks HTTP/2 is an engine's. */
import { connect as connectTls, type SecureContext, type TLSSocket } from "node:tls";
import { messageOf } from "../../core/base/errors.ts";
import { errnoOf } from "../../core/linux/errno.ts";
import { formatIdentity } from "../../core/protocol/spiffe/identity.ts";
import { engineOn, type EngineOptions, type Transport } from "./engine.ts";
import { forgetLegacyCertificates, presentedBy, revokedError, type ChainTrust } from "./peer-chain.ts";
import { alpn, checkServer, handshakeError, type ProvenPeer } from "./tls.ts";
import { TunnelError, type ClientTunnel } from "./tunnel.ts";

export interface ClientTunnelOptions extends EngineOptions {
  /** A socket that is connecting to the peer's tunnel port, or a stream that leads there. */
  readonly socket: Transport;
  readonly context: SecureContext;
  /** SPIFFE URIs; the peer must prove one of them. */
  readonly accepted: readonly string[];
  /** For lists of revoked certificates; default: there are none. */
  readonly trust?: ChainTrust;
  /** For TCP and TLS together. Default 10,000. */
  readonly deadlineMs?: number;
  /** TCP is up, and TLS begins. */
  readonly onConnected?: () => void;
}

/** Settles once TLS is up and the peer has proved an accepted identity, or with why not; never throws. */
export function openClientTunnel(options: ClientTunnelOptions): Promise<ClientTunnel | TunnelError> {
  return new Promise((resolve) => new Handshake(options, resolve));
}

/** From connect() to the verified peer. Whatever happens first settles it, and a loser is torn down. */
class Handshake {
  readonly #options: ClientTunnelOptions;
  readonly #settle: (result: ClientTunnel | TunnelError) => void;
  readonly #cancelDeadline: () => void;
  #phase: "tcp" | "tls" | "settled" = "tcp";
  #peer: ProvenPeer | undefined;
  #tls: TLSSocket | undefined;

  constructor(options: ClientTunnelOptions, settle: (result: ClientTunnel | TunnelError) => void) {
    this.#options = options;
    this.#settle = settle;
    const { socket, clock, deadlineMs = defaultDeadlineMs } = options;
    // A tunnel is over when its peer closes it: half-open is for what is inside.
    socket.allowHalfOpen = false;
    this.#cancelDeadline = clock.after(deadlineMs, () => {
      const code = this.#phase === "tcp" ? "tunnel.connect-timeout" : "tunnel.tls-timeout";
      this.#fail(new TunnelError({ code, afterMs: deadlineMs }));
    });
    socket.on("error", (error) => {
      const errno = errnoOf(error) ?? messageOf(error);
      if (this.#phase === "tcp") this.#fail(new TunnelError({ code: "tunnel.connect-failed", errno }));
      else this.#fail(new TunnelError({ code: "tunnel.tls-failed", detail: errno }));
    });
    socket.once("close", () => {
      // From then on TLS says it, which may have closed what is beneath it before it says why.
      if (this.#tls === undefined) this.#closed();
    });
    if ("connecting" in socket && socket.connecting) socket.once("connect", () => this.#secure());
    else this.#secure();
  }

  #secure(): void {
    if (this.#phase !== "tcp") return;
    this.#phase = "tls";
    const { socket, context, accepted, trust = noTrust } = this.#options;
    this.#options.onConnected?.();
    const tls = connectTls({
      socket,
      secureContext: context,
      // No name is sent and none is checked: who the peer must be is `accepted`.
      servername: "",
      ALPNProtocols: alpn,
      rejectUnauthorized: true,
      checkServerIdentity: () => {
        const checked = checkServer(presentedBy(tls), accepted, trust);
        if (checked instanceof TunnelError) return checked;
        this.#peer = checked;
        return undefined;
      },
    });
    forgetLegacyCertificates(tls);
    this.#tls = tls;
    tls.on("error", (error: Error) => this.#fail(handshakeError(error)));
    tls.once("close", () => this.#closed());
    tls.once("secureConnect", () => this.#secured(tls));
  }

  #closed(): void {
    this.#fail(new TunnelError({ code: "tunnel.tls-failed", detail: "closed" }));
  }

  #secured(tls: TLSSocket): void {
    if (this.#phase !== "tls") return;
    if (tls.alpnProtocol !== "h2") {
      return this.#fail(new TunnelError({ code: "tunnel.not-h2", alpn: String(tls.alpnProtocol) }));
    }
    // Nothing but the check above sets it: a session that skipped the check (a resumed one) is not let through.
    const peer = this.#peer;
    if (peer === undefined || tls.isSessionReused()) {
      return this.#fail(new TunnelError({ code: "tunnel.bad-identity", detail: "identity not checked" }));
    }
    this.#phase = "settled";
    this.#cancelDeadline();
    const { engine, modules } = engineOn(this.#options.socket, this.#options);
    const tunnel = engine.client(tls, formatIdentity(peer.identity), modules);
    const { revocations } = this.#options.trust ?? noTrust;
    if (revocations !== undefined) {
      tls.once(
        "close",
        revocations.watch(peer.chain, (id) => tunnel.destroy(revokedError(id))),
      );
    }
    this.#settle(tunnel);
  }

  #fail(error: TunnelError): void {
    if (this.#phase === "settled") return;
    this.#phase = "settled";
    this.#cancelDeadline();
    // Not the socket beneath, once there is one above: destroying it within TLS's own callbacks crashes Node 24.
    (this.#tls ?? this.#options.socket).destroy();
    this.#settle(error);
  }
}

const defaultDeadlineMs = 10_000;
const noTrust: ChainTrust = { roots: "", revocations: undefined };
