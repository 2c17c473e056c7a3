/** The way to a tunnel: TCP and TLS to a peer's 15008, and the proof that it is who it should be. What then speaks HTTP/2 is an engine's. */
import { Duplex } from "node:stream";
import { messageOf } from "../../core/base/errors.ts";
import { errnoOf } from "../../core/linux/errno.ts";
import { engineOf, modulesOn, type EngineOptions, type Transport } from "./engine.ts";
import { revokedError, type ChainTrust, type Presented } from "./peer-chain.ts";
import { checkServer, notH2, type ProvenPeer } from "./tls.ts";
import type { ClientTls, ClientTlsOwner, Handshaking, Secured } from "./tls-engine.ts";
import { TunnelError, type ClientTunnel } from "./tunnel.ts";

export interface ClientTunnelOptions extends EngineOptions {
  /** A socket that is connecting to the peer's tunnel port, or a stream that leads there. */
  readonly socket: Transport;
  /** Of the same engine. */
  readonly context: ClientTls;
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
class Handshake implements ClientTlsOwner {
  readonly #options: ClientTunnelOptions;
  readonly #settle: (result: ClientTunnel | TunnelError) => void;
  readonly #cancelDeadline: () => void;
  #phase: "tcp" | "tls" | "settled" = "tcp";
  #peer: ProvenPeer | undefined;
  #tls: Handshaking | undefined;

  constructor(options: ClientTunnelOptions, settle: (result: ClientTunnel | TunnelError) => void) {
    this.#options = options;
    this.#settle = settle;
    const { socket, clock, deadlineMs = defaultDeadlineMs } = options;
    // A tunnel is over when its peer closes it: half-open is for what is inside.
    if (socket instanceof Duplex) socket.allowHalfOpen = false;
    this.#cancelDeadline = clock.after(deadlineMs, () => {
      const code = this.#phase === "tcp" ? "tunnel.connect-timeout" : "tunnel.tls-timeout";
      this.failed(new TunnelError({ code, afterMs: deadlineMs }));
    });
    socket.on("error", (error) => {
      const errno = errnoOf(error) ?? messageOf(error);
      if (this.#phase === "tcp") this.failed(new TunnelError({ code: "tunnel.connect-failed", errno }));
      else this.failed(new TunnelError({ code: "tunnel.tls-failed", detail: errno }));
    });
    socket.once("close", () => {
      // From then on TLS says it, which may have closed what is beneath it before it says why.
      if (this.#tls === undefined) this.#closed();
    });
    if (socket.connecting === true) socket.once("connect", () => this.#secure());
    else this.#secure();
  }

  /** @internal ClientTlsOwner. */
  judge(presented: Presented): TunnelError | undefined {
    const { accepted, trust = noTrust } = this.#options;
    const checked = checkServer(presented, accepted, trust);
    if (checked instanceof TunnelError) return checked;
    this.#peer = checked;
    return undefined;
  }

  /** @internal ClientTlsOwner. */
  failed(error: TunnelError): void {
    if (this.#phase === "settled") return;
    this.#phase = "settled";
    this.#cancelDeadline();
    // Not the socket beneath, once there is one above: destroying it within TLS's own callbacks crashes Node 24.
    (this.#tls ?? this.#options.socket).destroy();
    this.#settle(error);
  }

  /** @internal ClientTlsOwner. */
  secured(secured: Secured): void {
    if (this.#phase !== "tls") return secured.destroy();
    // Nothing but the check above sets it.
    const peer = this.#peer;
    if (peer === undefined || secured.isResumed) {
      const unchecked = new TunnelError({ code: "tunnel.bad-identity", detail: "identity not checked" });
      return this.failed(unchecked);
    }
    if (secured.protocol !== "h2") return this.failed(notH2(secured.protocol));
    this.#phase = "settled";
    this.#cancelDeadline();
    const { socket, engine, trust = noTrust } = this.#options;
    const modules = modulesOn(socket, this.#options);
    const tunnel = engineOf(engine).client(secured, peer.uri, modules);
    const { revocations } = trust;
    if (revocations !== undefined) {
      secured.onClosed(revocations.watch(peer.chain, (id) => tunnel.destroy(revokedError(id))));
    }
    this.#settle(tunnel);
  }

  #secure(): void {
    if (this.#phase !== "tcp") return;
    this.#phase = "tls";
    const { socket, context, onConnected } = this.#options;
    onConnected?.();
    this.#tls = context.begin(socket, this);
  }

  #closed(): void {
    this.failed(new TunnelError({ code: "tunnel.tls-failed", detail: "closed" }));
  }
}

const defaultDeadlineMs = 10_000;
const noTrust: ChainTrust = { roots: "", revocations: undefined };
