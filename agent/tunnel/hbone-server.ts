/**
 * The server's half of HBONE, one per pod and worker: TLS with the pod's own certificate and a client certificate that is judged here
 * and nowhere else, then HTTP/2 sessions whose streams go to the pod's inbound decision.
 */
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { socketIp, type Endpoint } from "../../core/base/ip.ts";
import { engineOn, type EngineOptions } from "./engine.ts";
import type { IncomingStream, ServerSession } from "./server-session.ts";
import type { Revocations } from "../revocation/revocations.ts";
import { keepPresented, keptOf, revokedError } from "./peer-chain.ts";
import { alpn, checkClient, handshakeError, secureOptions, type TlsIdentity } from "./tls.ts";
import { TunnelError } from "./tunnel.ts";

export type { IncomingStream, TunnelPeer } from "./server-session.ts";

export interface HboneServerOptions extends EngineOptions {
  /** For TLS and the HTTP/2 preface together, counted from accept. Default 10,000. */
  readonly deadlineMs?: number;
  /** Called with the stream alone; it is answered now or later. */
  readonly onStream: (stream: IncomingStream) => void;
  /** A tunnel has come to be. */
  readonly onOpened?: () => void;
  /** Default: nobody says what is revoked. */
  readonly revocations?: Revocations | undefined;
  /** A tunnel that did not come to be, or was ended for what its peer did. @param remote undefined where the socket was gone before it could be asked. */
  readonly onRefused: (error: TunnelError, remote: Endpoint | undefined) => void;
  /** A tunnel has gone. */
  readonly onGone?: () => void;
}

export class HboneServer {
  readonly #options: HboneServerOptions;
  readonly #sessions = new Set<ServerSession>();
  /** Handshakes in progress, by {@link endpointKey}. */
  readonly #handshakes = new Map<string, Handshake>();
  #tls: Server | undefined;
  #identity: TlsIdentity | undefined;
  #retired = false;

  constructor(options: HboneServerOptions) {
    this.#options = options;
  }

  /** What handshakes are answered with from now on, those that waited for it first; running tunnels keep what they began with. */
  useIdentity(identity: TlsIdentity): void {
    this.#identity = identity;
    if (this.#tls === undefined) this.#tls = this.#createTls(identity);
    else this.#tls.setSecureContext(secureOptions(identity));
    for (const handshake of [...this.#handshakes.values()]) this.#secure(handshake);
  }

  /** Takes an accepted socket over. Until there is an identity it waits, within its deadline. */
  accept(socket: Socket): void {
    const key = endpointKey(socket);
    if (key === undefined) return void socket.destroy();
    // A tunnel is over when its peer closes it: half-open is for what is inside.
    socket.allowHalfOpen = false;
    const handshake = new Handshake(socket, this.#options, () => {
      if (this.#handshakes.get(key) === handshake) this.#handshakes.delete(key);
      this.#options.onGone?.();
    });
    this.#handshakes.set(key, handshake);
    if (this.#tls !== undefined) this.#secure(handshake);
  }

  get tunnels(): number {
    return this.#sessions.size;
  }

  get handshakes(): number {
    return this.#handshakes.size;
  }

  tick(nowMs: number): void {
    for (const session of this.#sessions) session.tick(nowMs);
  }

  /**
   * GOAWAY to all: each tunnel ends with its last stream. A handshake that is under way goes on: its client waits with a first stream,
   * and would have to be told that it failed.
   */
  retire(): void {
    this.#retired = true;
    for (const session of this.#sessions) session.retire();
  }

  /** Everything at once. */
  destroy(): void {
    this.#retired = true;
    for (const handshake of [...this.#handshakes.values()]) {
      handshake.fail(new TunnelError({ code: "tunnel.lost", detail: "the pod is leaving" }));
    }
    for (const session of [...this.#sessions]) session.destroy();
    this.#tls?.removeAllListeners();
  }

  #createTls(identity: TlsIdentity): Server {
    const tls = createServer({
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
    tls.on("secureConnection", (socket) => this.#secured(socket));
    tls.on("tlsClientError", (error, socket) => {
      this.#handshakeOf(socket)?.fail(handshakeError(error), socket);
      socket.destroy();
    });
    return tls;
  }

  #secure(handshake: Handshake): void {
    if (handshake.beginTls()) this.#tls?.emit("connection", handshake.socket);
  }

  #secured(tls: TLSSocket): void {
    const handshake = this.#handshakeOf(tls);
    const ours = this.#identity;
    if (handshake === undefined || ours === undefined) return void tls.destroy();
    const { revocations } = this.#options;
    const checked = checkClient(tls, keptOf(tls), ours.identity.trustDomain, { roots: ours.roots, revocations });
    if (checked instanceof TunnelError) return void handshake.fail(checked, tls);
    const { identity, chain } = checked;
    const { remote, local } = handshake;
    const { onStream, onRefused, onGone } = this.#options;
    handshake.awaitPreface();
    let unwatch = (): void => {};
    const host = {
      onStream,
      onBegun: () => handshake.done(),
      onClosed: (error: TunnelError) => {
        // Before its first SETTINGS it was no tunnel yet.
        if (!handshake.fail(error, tls) && misbehaved.has(error.type.code)) onRefused(error, remote);
        this.#sessions.delete(session);
        unwatch();
        onGone?.();
      },
    };
    const { engine, modules } = engineOn(handshake.socket, this.#options);
    const session = engine.server(tls, { remote, local, identity }, host, modules);
    this.#sessions.add(session);
    if (revocations !== undefined) unwatch = revocations.watch(chain, (id) => session.destroy(revokedError(id)));
    if (this.#retired) session.retireAfterFirst();
    this.#options.onOpened?.();
  }

  #handshakeOf(tls: TLSSocket): Handshake | undefined {
    const key = endpointKey(tls);
    return key === undefined ? undefined : this.#handshakes.get(key);
  }
}

/** From accept to the peer's HTTP/2 preface, under one absolute deadline. */
class Handshake {
  readonly socket: Socket;
  readonly remote: Endpoint;
  readonly local: Endpoint;
  readonly #options: HboneServerOptions;
  readonly #cancelDeadline: () => void;
  readonly #onSettled: () => void;
  #phase: "certificate" | "tls" | "preface" | "settled" = "certificate";

  constructor(socket: Socket, options: HboneServerOptions, onSettled: () => void) {
    this.socket = socket;
    this.remote = endpointOf(socket.remoteAddress, socket.remotePort);
    this.local = endpointOf(socket.localAddress, socket.localPort);
    this.#options = options;
    this.#onSettled = onSettled;
    const { clock, deadlineMs = 10_000 } = options;
    this.#cancelDeadline = clock.after(deadlineMs, () => this.fail(this.#timeout(deadlineMs)));
    socket.on("error", (error) => this.fail(handshakeError(error)));
    socket.once("close", () => this.fail(new TunnelError({ code: "tunnel.lost", detail: "closed by the peer" })));
  }

  beginTls(): boolean {
    if (this.#phase !== "certificate" || this.socket.destroyed) return false;
    this.#phase = "tls";
    return true;
  }

  awaitPreface(): void {
    if (this.#phase === "tls") this.#phase = "preface";
  }

  /** HTTP/2 is up: from here on the session is its own. */
  done(): void {
    this.#settle();
  }

  /** @returns false if it is over already. @param tls the socket above, once it is known: destroying the one beneath in TLS's own callback crashes Node 24. */
  fail(error: TunnelError, tls?: TLSSocket): boolean {
    if (!this.#settle()) return false;
    (tls ?? this.socket).destroy();
    this.#options.onRefused(error, this.remote);
    return true;
  }

  #settle(): boolean {
    if (this.#phase === "settled") return false;
    this.#phase = "settled";
    this.#cancelDeadline();
    this.#onSettled();
    return true;
  }

  #timeout(afterMs: number): TunnelError {
    switch (this.#phase) {
      case "certificate":
        return new TunnelError({ code: "tunnel.no-certificate", detail: `none after ${afterMs} ms` });
      case "preface":
        return new TunnelError({ code: "tunnel.no-preface", afterMs });
      default:
        return new TunnelError({ code: "tunnel.tls-timeout", afterMs });
    }
  }
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

function endpointOf(address: string | undefined, port: number | undefined): Endpoint {
  return { address: socketIp(address ?? "") ?? "", port: port ?? 0 };
}

/** What ends a tunnel and is its peer's fault: nobody else would tell. */
const misbehaved: ReadonlySet<string> = new Set(["tunnel.abuse", "tunnel.protocol-error", "tunnel.bad-preface"]);
