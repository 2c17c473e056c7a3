/**
 * The server's half of HBONE on node:http2, one per pod and worker: TLS with the pod's own certificate and a client certificate
 * that is judged here and nowhere else, then HTTP/2 sessions whose streams go to the pod's inbound decision.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Clock } from "../../core/base/clock.ts";
import { canonicalIp, type Endpoint } from "../../core/base/ip.ts";
import type { Headers } from "../../core/protocol/hbone/request.ts";
import type { Identity } from "../../core/protocol/spiffe/identity.ts";
import { BlockedWrite } from "./blocked-write.ts";
import { HboneStream, type StreamHost } from "./hbone-stream.ts";
import { Keepalive } from "./keepalive.ts";
import { alpn, checkClient, handshakeError, secureOptions, type TlsIdentity } from "./tls.ts";
import { tunnelLimits, TunnelError, type TunnelStream } from "./tunnel.ts";

/** The other end of an accepted tunnel, as TCP and its certificate prove it. */
export interface TunnelPeer {
  readonly remote: Endpoint;
  /** The pod's own endpoint that was connected to. */
  readonly local: Endpoint;
  readonly identity: Identity;
}

/** A CONNECT, or whatever else the peer sent, that waits for its one answer. */
export interface IncomingStream {
  readonly headers: Headers;
  readonly peer: TunnelPeer;
  /** Called once if the peer takes it back, or its tunnel goes, before the answer. */
  onAbandoned: (() => void) | undefined;
  /** Sends the 200; bytes flow as soon as the stream is resumed. */
  accept(headers: Readonly<Record<string, string | number>>): TunnelStream;
  /** Answers with a status and END_STREAM. */
  refuse(status: number): void;
}

export interface HboneServerOptions {
  readonly clock: Clock;
  /** For TLS and the HTTP/2 preface together, counted from accept. Default 10,000. */
  readonly deadlineMs?: number;
  /** Called with the stream alone; it is answered now or later. */
  readonly onStream: (stream: IncomingStream) => void;
  /** A tunnel has come to be. */
  readonly onOpened?: () => void;
  /** A tunnel that did not come to be. @param remote undefined where the socket was gone before it could be asked. */
  readonly onRefused: (error: TunnelError, remote: Endpoint | undefined) => void;
  /** A tunnel has gone. */
  readonly onGone?: () => void;
}

export class HboneServer {
  readonly #options: HboneServerOptions;
  readonly #sessions = new Set<ServerTunnel>();
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
      ALPNProtocols: alpn,
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
    const trustDomain = this.#identity?.identity.trustDomain;
    if (handshake === undefined || trustDomain === undefined) return void tls.destroy();
    const identity = checkClient(tls, trustDomain);
    if (identity instanceof TunnelError) return handshake.fail(identity, tls);
    const { remote, local } = handshake;
    const session = new ServerTunnel(tls, { remote, local, identity }, handshake, this.#options, () => {
      this.#sessions.delete(session);
      this.#options.onGone?.();
    });
    this.#sessions.add(session);
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

  /** @param tls the socket above, once it is known: destroying the one beneath in TLS's own callback crashes Node 24. */
  fail(error: TunnelError, tls?: TLSSocket): void {
    if (!this.#settle()) return;
    (tls ?? this.socket).destroy();
    this.#options.onRefused(error, this.remote);
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

class ServerTunnel implements StreamHost {
  readonly #session: ServerHttp2Session;
  readonly #keepalive: Keepalive;
  readonly #blockedWrite: BlockedWrite;
  readonly #clock: Clock;
  #lost = false;
  #streams = 0;
  #retirement: "no" | "after-first" | "announced" = "no";

  constructor(
    tls: TLSSocket,
    peer: TunnelPeer,
    handshake: Handshake,
    options: HboneServerOptions,
    onClosed: () => void,
  ) {
    this.#clock = options.clock;
    // Before the session's own listeners: a stream that closes asks whether it was its tunnel that went.
    tls.on("error", () => (this.#lost = true));
    tls.once("close", () => {
      this.#lost = true;
      handshake.fail(new TunnelError({ code: "tunnel.lost", detail: "closed by the peer" }), tls);
    });
    this.#session = performServerHandshake(tls, {
      maxSessionMemory: sessionMemoryMiB,
      maxSessionRejectedStreams: 100_000,
      settings: {
        initialWindowSize: tunnelLimits.streamWindow,
        maxFrameSize: tunnelLimits.maxFrameSize,
        maxConcurrentStreams: tunnelLimits.serverStreams,
        maxHeaderListSize: tunnelLimits.serverHeaderList,
      },
    });
    this.#session.setLocalWindowSize(tunnelLimits.connectionWindow);
    this.#keepalive = new Keepalive(this.#session, options.clock.nowMs());
    this.#blockedWrite = new BlockedWrite({ session: this.#session, tls, socket: handshake.socket }, options.clock);
    handshake.awaitPreface();
    this.#session.once("remoteSettings", () => handshake.done());
    this.#session.on("stream", (stream, headers) => {
      this.#streams += 1;
      stream.once("close", () => (this.#streams -= 1));
      options.onStream(new Incoming(stream, headers, peer, this));
      if (this.#retirement === "after-first") this.retire();
    });
    this.#session.on("error", () => (this.#lost = true));
    this.#session.once("close", () => {
      this.#lost = true;
      this.#blockedWrite.close();
      tls.destroySoon();
      onClosed();
    });
  }

  get isLost(): boolean {
    return this.#lost;
  }

  wrote(): void {
    this.#blockedWrite.wrote();
  }

  /**
   * GOAWAY twice (RFC 9113 6.8): the first says that there will be another, the second, a round trip later, which stream was the last.
   * nghttp2 takes no stream after the first either; from the second the client knows that what it had sent meanwhile is untouched, and
   * a session without streams would not even read the PONG (tried on Node 24.21): there one GOAWAY says it all.
   */
  retire(): void {
    if (this.#retirement === "announced" || this.#session.closed) return;
    this.#retirement = "announced";
    if (this.#streams === 0) return this.#session.close();
    this.#session.goaway(constants.NGHTTP2_NO_ERROR, highestStream);
    const close = (): void => void (this.#session.closed || this.#session.close());
    this.#clock.after(pongPatienceMs, close);
    if (!this.#session.ping(close)) close();
  }

  /** For a tunnel that comes too late: whoever made it has a stream for it. */
  retireAfterFirst(): void {
    if (this.#retirement !== "no") return;
    this.#retirement = "after-first";
    this.#clock.after(firstStreamWithinMs, () => this.retire());
  }

  destroy(): void {
    this.#lost = true;
    this.#session.destroy();
    this.#blockedWrite.destroyed();
  }

  tick(nowMs: number): void {
    this.#blockedWrite.tick();
    if (!this.#keepalive.tick(nowMs)) this.destroy();
  }
}

class Incoming implements IncomingStream {
  readonly headers: Headers;
  readonly peer: TunnelPeer;
  onAbandoned: (() => void) | undefined;
  readonly #stream: ServerHttp2Stream;
  readonly #host: StreamHost;
  #answered = false;

  constructor(stream: ServerHttp2Stream, headers: Headers, peer: TunnelPeer, host: StreamHost) {
    this.#stream = stream;
    this.headers = headers;
    this.peer = peer;
    this.#host = host;
    stream.pause();
    stream.on("error", ignore);
    stream.once("close", () => {
      if (this.#answered) return;
      this.#answered = true;
      this.onAbandoned?.();
    });
  }

  accept(headers: Readonly<Record<string, string | number>>): TunnelStream {
    this.#answered = true;
    const end = new HboneStream(this.#stream, this.#host);
    if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.respond({ ...headers });
    return end;
  }

  refuse(status: number): void {
    if (this.#answered) return;
    this.#answered = true;
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    stream.respond({ ":status": status }, { endStream: true });
    // What the peer still sends is of no use: RFC 9113 8.1 lets a server say so once its answer is complete.
    stream.close(constants.NGHTTP2_NO_ERROR);
  }
}

/** Known before TLS and after it by both sockets alike; a tunnel is one TCP connection of one listener. */
function endpointKey(socket: Socket): string | undefined {
  const { remoteAddress, remotePort, localAddress } = socket;
  return remoteAddress === undefined ? undefined : `${remoteAddress} ${String(remotePort)} ${String(localAddress)}`;
}

function endpointOf(address: string | undefined, port: number | undefined): Endpoint {
  return { address: canonicalIp(address ?? "") ?? "", port: port ?? 0 };
}

function ignore(): void {}

const sessionMemoryMiB = 1024;
const highestStream = 0x7fff_ffff;
const pongPatienceMs = 1_000;
const firstStreamWithinMs = 1_000;
