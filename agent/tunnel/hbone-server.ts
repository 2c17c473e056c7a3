/**
 * The server's half of HBONE, one per pod and worker: TLS with the pod's own certificate and a client certificate that is judged here
 * and nowhere else, then HTTP/2 sessions whose streams go to the pod's inbound decision.
 */
import { Socket } from "node:net";
import type { Endpoint } from "../../core/base/ip.ts";
import { localOf, peerOf } from "../../core/linux/socket-ends.ts";
import { engineOf, modulesOn, type EngineOptions } from "./engine.ts";
import type { IncomingStream, ServerSession, TunnelPeer } from "./server-session.ts";
import type { Revocations } from "../revocation/revocations.ts";
import { revokedError } from "./peer-chain.ts";
import { checkClient, handshakeError, type TlsIdentity } from "./tls.ts";
import type { AcceptedSocket, Handshaking, PresentedClient, Secured, ServerTls, ServerTlsOwner } from "./tls-engine.ts";
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
  readonly #handshakes = new Set<Handshake>();
  readonly #tls: ServerTls;
  #identity: TlsIdentity | undefined;
  #retired = false;

  constructor(options: HboneServerOptions) {
    this.#options = options;
    this.#tls = engineOf(options.engine).serverTls();
  }

  /** What handshakes are answered with from now on, those that waited for it first; running tunnels keep what they began with. */
  useIdentity(identity: TlsIdentity): void {
    this.#tls.useIdentity(identity);
    this.#identity = identity;
    for (const handshake of [...this.#handshakes]) this.#secure(handshake);
  }

  /** Takes an accepted socket over. Until there is an identity it waits, within its deadline. */
  accept(socket: AcceptedSocket): void {
    const [remote, local] = [peerOf(socket), localOf(socket)];
    // It has gone before it could be asked.
    if (remote === undefined || local === undefined) return void socket.destroy();
    // A tunnel is over when its peer closes it: half-open is for what is inside.
    if (socket instanceof Socket) socket.allowHalfOpen = false;
    const handshake = new Handshake(socket, { remote, local }, this.#options, () => {
      this.#handshakes.delete(handshake);
      this.#options.onGone?.();
    });
    this.#handshakes.add(handshake);
    if (this.#identity !== undefined) this.#secure(handshake);
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
    for (const handshake of [...this.#handshakes]) {
      handshake.fail(new TunnelError({ code: "tunnel.lost", detail: "the pod is leaving" }));
    }
    for (const session of [...this.#sessions]) session.destroy();
    this.#tls.close();
  }

  #secure(handshake: Handshake): void {
    if (!handshake.beginTls()) return;
    const owner: ServerTlsOwner = {
      secured: (client, secured) => this.#secured(handshake, client, secured),
      failed: (error, what) => handshake.fail(error, what),
    };
    this.#tls.accept(handshake.socket, owner);
  }

  #secured(handshake: Handshake, client: PresentedClient, secured: Secured): void {
    const ours = this.#identity;
    if (ours === undefined || handshake.isSettled) return secured.destroy();
    const { revocations } = this.#options;
    const checked = checkClient(client, secured, ours.identity.trustDomain, { roots: ours.roots, revocations });
    if (checked instanceof TunnelError) return void handshake.fail(checked, secured);
    const { identity, chain } = checked;
    const { remote, local } = handshake;
    const { engine, onStream, onRefused, onGone } = this.#options;
    handshake.awaitPreface();
    let unwatch = (): void => {};
    const host = {
      onStream,
      onBegun: () => handshake.done(),
      onClosed: (error: TunnelError) => {
        // Before its first SETTINGS it was no tunnel yet.
        if (!handshake.fail(error, secured) && misbehaved.has(error.type.code)) onRefused(error, remote);
        this.#sessions.delete(session);
        unwatch();
        onGone?.();
      },
    };
    const modules = modulesOn(handshake.socket, this.#options);
    const session = engineOf(engine).server(secured, { remote, local, identity }, host, modules);
    this.#sessions.add(session);
    if (revocations !== undefined) unwatch = revocations.watch(chain, (id) => session.destroy(revokedError(id)));
    if (this.#retired) session.retireAfterFirst();
    this.#options.onOpened?.();
  }
}

type SocketEnds = Pick<TunnelPeer, "remote" | "local">;

/** From accept to the peer's HTTP/2 preface, under one absolute deadline. */
class Handshake {
  readonly socket: AcceptedSocket;
  readonly remote: Endpoint;
  readonly local: Endpoint;
  readonly #options: HboneServerOptions;
  readonly #cancelDeadline: () => void;
  readonly #onSettled: () => void;
  #phase: "certificate" | "tls" | "preface" | "settled" = "certificate";

  constructor(socket: AcceptedSocket, ends: SocketEnds, options: HboneServerOptions, onSettled: () => void) {
    this.socket = socket;
    this.remote = ends.remote;
    this.local = ends.local;
    this.#options = options;
    this.#onSettled = onSettled;
    const { clock, deadlineMs = 10_000 } = options;
    this.#cancelDeadline = clock.after(deadlineMs, () => this.fail(this.#timeout(deadlineMs)));
    socket.on("error", (error: Error) => this.fail(handshakeError(error)));
    socket.once("close", () => {
      if (!this.isSettled) this.fail(new TunnelError({ code: "tunnel.lost", detail: "closed by the peer" }));
    });
  }

  beginTls(): boolean {
    if (this.#phase !== "certificate" || this.socket.destroyed) return false;
    this.#phase = "tls";
    return true;
  }

  get isSettled(): boolean {
    return this.#phase === "settled";
  }

  awaitPreface(): void {
    if (this.#phase === "tls") this.#phase = "preface";
  }

  /** HTTP/2 is up: from here on the session is its own. */
  done(): void {
    this.#settle();
  }

  /** @returns false if it is over already. @param above what TLS is done by, once it is known: destroying the socket beneath in TLS's own callback crashes Node 24. */
  fail(error: TunnelError, above?: Handshaking): boolean {
    if (!this.#settle()) return false;
    (above ?? this.socket).destroy();
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

/** What ends a tunnel and is its peer's fault: nobody else would tell. */
const misbehaved: ReadonlySet<string> = new Set(["tunnel.abuse", "tunnel.protocol-error", "tunnel.bad-preface"]);
