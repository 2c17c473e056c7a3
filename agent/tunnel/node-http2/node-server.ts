/** The server's half of HBONE on node:http2: the reference that our own HTTP/2 is held against. */
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../../core/base/clock.ts";
import type { Headers } from "../../../core/protocol/hbone/request.ts";
import type { TunnelModules } from "../engine.ts";
import type { IncomingStream, ServerSession, ServerSessionHost, TunnelPeer } from "../server-session.ts";
import { TunnelError, tunnelLimits, type TunnelStream } from "../tunnel.ts";
import { BlockedWrite } from "./blocked-write.ts";
import { http2 } from "./http2.ts";
import { Keepalive } from "./keepalive.ts";
import { NodeStream, type StreamHost } from "./node-stream.ts";

export class NodeServer implements ServerSession, StreamHost {
  readonly #session: ServerHttp2Session;
  readonly #keepalive: Keepalive;
  readonly #blockedWrite: BlockedWrite;
  readonly #clock: Clock;
  #lost: TunnelError | undefined;
  #streams = 0;
  #saidClosed = false;
  #retirement: "no" | "after-first" | "announced" = "no";

  constructor(tls: TLSSocket, peer: TunnelPeer, host: ServerSessionHost, { clock, socket, limits }: TunnelModules) {
    this.#clock = clock;
    // Before the session's own listeners: a stream that closes asks whether it was its tunnel that went.
    tls.on("error", () => (this.#lost ??= gone));
    tls.once("close", () => {
      this.#lost ??= gone;
      this.#closed(host);
    });
    this.#session = http2().performServerHandshake(tls, {
      maxSessionMemory: sessionMemoryMiB,
      maxSessionRejectedStreams: 100_000,
      settings: {
        initialWindowSize: limits.streamWindow,
        maxFrameSize: limits.maxFrameSize,
        maxConcurrentStreams: tunnelLimits.serverStreams,
        maxHeaderListSize: tunnelLimits.serverHeaderList,
      },
    });
    this.#session.setLocalWindowSize(limits.connectionWindow);
    this.#keepalive = new Keepalive(this.#session, clock.nowMs());
    this.#blockedWrite = new BlockedWrite({ session: this.#session, tls, socket }, clock);
    this.#session.once("remoteSettings", () => host.onBegun());
    this.#session.on("stream", (stream, headers) => {
      this.#streams += 1;
      stream.once("close", () => (this.#streams -= 1));
      host.onStream(new Incoming(stream, headers, peer, this));
      if (this.#retirement === "after-first") this.retire();
    });
    this.#session.on("error", () => (this.#lost ??= gone));
    this.#session.once("close", () => {
      this.#lost ??= gone;
      this.#blockedWrite.close();
      tls.destroySoon();
      this.#closed(host);
    });
  }

  #closed(host: ServerSessionHost): void {
    if (this.#saidClosed) return;
    this.#saidClosed = true;
    host.onClosed(this.#lost ?? gone);
  }

  get lost(): TunnelError | undefined {
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
    this.#session.goaway(http2().constants.NGHTTP2_NO_ERROR, highestStream);
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

  destroy(why?: TunnelError): void {
    this.#lost ??= why ?? gone;
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
  onAbandoned: ((why?: TunnelError) => void) | undefined;
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
      this.onAbandoned?.(host.lost);
    });
  }

  accept(headers: Readonly<Record<string, string | number>>): TunnelStream {
    this.#answered = true;
    const end = new NodeStream(this.#stream, this.#host);
    if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.respond({ ...headers });
    return end;
  }

  refuse(status: number, headers: Readonly<Record<string, string>> = {}): void {
    if (this.#answered) return;
    this.#answered = true;
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    stream.respond({ ":status": status, ...headers }, { endStream: true });
    // What the peer still sends is of no use: RFC 9113 8.1 lets a server say so once its answer is complete.
    stream.close(http2().constants.NGHTTP2_NO_ERROR);
  }
}

function ignore(): void {}

const sessionMemoryMiB = 1024;
const gone = new TunnelError({ code: "tunnel.lost", detail: "closed by the peer" });
const highestStream = 0x7fff_ffff;
const pongPatienceMs = 1_000;
const firstStreamWithinMs = 1_000;
