/** The client's half of HBONE on node:http2: the reference that our own HTTP/2 is held against. */
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../../core/base/clock.ts";
import { messageOf } from "../../../core/base/errors.ts";
import type { Headers } from "../../../core/protocol/hbone/request.ts";
import { readAnswer } from "../answer.ts";
import type { TunnelModules } from "../engine.ts";
import { handshakeError } from "../tls.ts";
import {
  TunnelError,
  tunnelLimits,
  type ClientTunnel,
  type StreamOpener,
  type TunnelLimits,
  type TunnelPhase,
} from "../tunnel.ts";
import { BlockedWrite } from "./blocked-write.ts";
import { http2 } from "./http2.ts";
import { Keepalive } from "./keepalive.ts";
import { NodeStream, resetWithoutEnd, type StreamHost } from "./node-stream.ts";

export class NodeClient implements ClientTunnel, StreamHost {
  readonly peerIdentity: string;
  readonly bornMs: number;
  changed: (() => void) | undefined;
  readonly #session: ClientHttp2Session;
  readonly #keepalive: Keepalive;
  readonly #blockedWrite: BlockedWrite;
  readonly #clock: Clock;
  readonly #limits: TunnelLimits;
  #phase: TunnelPhase = "open";
  #streams = 0;
  /** Why the connection went, as far as we know better than the streams do. */
  #lost: TunnelError | undefined;

  /** @param tls connected, and its peer proven to be `peerIdentity`. */
  constructor(tls: TLSSocket, peerIdentity: string, { clock, socket, limits }: TunnelModules) {
    this.#limits = limits;
    this.peerIdentity = peerIdentity;
    this.bornMs = clock.nowMs();
    this.#clock = clock;
    // Before the session's own listeners: a stream that closes asks whether it was its tunnel that went.
    // A server that refuses our certificate says so after the client's handshake is over (RFC 8446 4.4.2.4): a TLS error, too.
    tls.on("error", (error: Error & { code?: string }) => {
      if (error.code?.startsWith("ERR_SSL") === true) this.#lost ??= handshakeError(error);
      this.#lose(messageOf(error));
    });
    tls.once("close", () => this.#lose("closed by the peer"));
    this.#session = http2().connect("https://hbone", {
      createConnection: () => tls,
      maxSessionMemory: sessionMemoryMiB,
      settings: {
        enablePush: false,
        initialWindowSize: limits.streamWindow,
        maxFrameSize: limits.maxFrameSize,
        maxHeaderListSize: tunnelLimits.clientHeaderList,
      },
    });
    this.#keepalive = new Keepalive(this.#session, this.bornMs);
    this.#blockedWrite = new BlockedWrite({ session: this.#session, tls, socket }, clock);
    this.#session.once("connect", () => this.#session.setLocalWindowSize(limits.connectionWindow));
    this.#session.on("remoteSettings", () => this.changed?.());
    this.#session.on("goaway", () => this.retire());
    this.#session.on("error", (error) => this.#lose(messageOf(error), "tunnel.protocol-error"));
    this.#session.once("close", () => {
      this.#lose("session closed");
      this.#blockedWrite.close();
      tls.destroySoon();
    });
  }

  get lost(): TunnelError | undefined {
    return this.#lost;
  }

  wrote(): void {
    this.#blockedWrite.wrote();
  }

  get phase(): TunnelPhase {
    // The session is the truth: it may know of a GOAWAY before we heard of it.
    return this.#phase === "open" && (this.#session.closed || this.#session.destroyed) ? "retired" : this.#phase;
  }

  get streams(): number {
    return this.#streams;
  }

  get room(): number {
    if (this.phase !== "open") return 0;
    // Empty until the peer's SETTINGS are here: then as many as we ever open.
    const { maxConcurrentStreams = this.#limits.clientStreams } = this.#session.remoteSettings;
    return Math.min(this.#limits.clientStreams, maxConcurrentStreams) - this.#streams;
  }

  reserve(): void {
    this.#streams += 1;
    this.changed?.();
  }

  release(): void {
    this.#streams -= 1;
    if (this.#phase === "retired" && this.#streams === 0) this.#session.close();
    this.changed?.();
  }

  open(headers: Readonly<Record<string, string>>, opener: StreamOpener, withinMs = defaultDeadlineMs): void {
    if (this.#lost !== undefined || this.#session.destroyed) {
      this.release();
      return opener.failed(this.#lost ?? new TunnelError({ code: "tunnel.lost", detail: "session closed" }));
    }
    let stream: ClientHttp2Stream;
    try {
      stream = this.#session.request(headers, { endStream: false });
    } catch (thrown) {
      // The session closed between the look and the request, or the headers are none: either way there is no stream.
      this.release();
      return opener.failed(new TunnelError({ code: "tunnel.lost", detail: messageOf(thrown) }));
    }
    stream.once("close", () => this.release());
    new Opening(stream, this, opener, this.#clock, withinMs);
  }

  /** Why a stream of this tunnel ended without an answer. */
  explain(stream: ClientHttp2Stream): TunnelError {
    if (this.#lost !== undefined) return this.#lost;
    const { rstCode } = stream;
    if (rstCode === http2().constants.NGHTTP2_REFUSED_STREAM) return new TunnelError({ code: "tunnel.stream-refused" });
    return new TunnelError({ code: "tunnel.stream-reset", h2: rstCode });
  }

  retire(): void {
    if (this.#phase !== "open") return;
    this.#phase = "retired";
    if (this.#streams === 0) this.#session.close();
    this.changed?.();
  }

  destroy(why?: TunnelError): void {
    this.#lost ??= why;
    this.#lose("destroyed by us");
    this.#session.destroy();
    this.#blockedWrite.destroyed();
  }

  tick(nowMs: number): void {
    this.#blockedWrite.tick();
    if (this.#phase === "closed" || this.#keepalive.tick(nowMs)) return;
    this.#lost = new TunnelError({ code: "tunnel.unresponsive" });
    this.destroy();
  }

  #lose(detail: string, code: "tunnel.lost" | "tunnel.protocol-error" = "tunnel.lost"): void {
    this.#lost ??= new TunnelError({ code, detail });
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.changed?.();
  }
}

/** A CONNECT that waits for its answer: heard once, by whatever comes first. */
class Opening {
  readonly #stream: ClientHttp2Stream;
  readonly #tunnel: NodeClient;
  readonly #opener: StreamOpener;
  readonly #cancelDeadline: () => void;
  #settled = false;

  constructor(stream: ClientHttp2Stream, tunnel: NodeClient, opener: StreamOpener, clock: Clock, deadlineMs: number) {
    this.#stream = stream;
    this.#tunnel = tunnel;
    this.#opener = opener;
    stream.on("error", ignore);
    stream.once("response", (headers, flags) => this.#answered(headers, flags));
    stream.once("close", () => this.#fail(tunnel.explain(stream)));
    this.#cancelDeadline = clock.after(deadlineMs, () =>
      this.#fail(new TunnelError({ code: "tunnel.answer-timeout", afterMs: deadlineMs })),
    );
  }

  #answered(headers: Headers, flags: number): void {
    if (this.#settled) return;
    const response = readAnswer(headers, (flags & http2().constants.NGHTTP2_FLAG_END_STREAM) !== 0);
    if (response instanceof TunnelError) return this.#fail(response);
    this.#settled = true;
    this.#cancelDeadline();
    this.#opener.opened(new NodeStream(this.#stream, this.#tunnel), response);
  }

  #fail(error: TunnelError): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#cancelDeadline();
    this.#opener.failed(error);
    resetWithoutEnd(this.#stream, http2().constants.NGHTTP2_CANCEL);
  }
}

function ignore(): void {}

const defaultDeadlineMs = 10_000;
/** node:http2 refuses streams beyond its own estimate of a session's memory; windows bound ours (MiB). */
const sessionMemoryMiB = 1024;
