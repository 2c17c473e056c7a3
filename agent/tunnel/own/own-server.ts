/** The server's half of HBONE on our own HTTP/2: one accepted tunnel. */
import { specimens } from "../../../core/base/specimens.ts";
import type { Clock } from "../../../core/base/clock.ts";
import { errorCodes } from "../../../core/protocol/h2/error-code.ts";
import type { RequestHead } from "../../../core/protocol/h2/message-head.ts";
import type { H2Stream } from "../../../core/protocol/h2/stream.ts";
import type { Headers } from "../../../core/protocol/hbone/request.ts";
import type { TunnelModules } from "../engine.ts";
import type { IncomingStream, ServerSession, ServerSessionHost, TunnelPeer } from "../server-session.ts";
import type { SecureLink } from "../secure-link.ts";
import { tunnelLimits, type TunnelError, type TunnelStream } from "../tunnel.ts";
import { fieldsOf, requestHeaders } from "./fields.ts";
import { OwnStream } from "./own-stream.ts";
import { TunnelConnection, type TunnelSide } from "./tunnel-connection.ts";

export class OwnServer implements ServerSession, TunnelSide {
  readonly #link: TunnelConnection;
  readonly #peer: TunnelPeer;
  readonly #host: ServerSessionHost;
  readonly #clock: Clock;
  #hasBegun = false;
  #isClientLeaving = false;
  /** `announced`: the first GOAWAY is out, `said`: the last one. */
  #retirement: "no" | "after-first" | "announced" | "said" = "no";

  constructor(link: SecureLink, peer: TunnelPeer, host: ServerSessionHost, modules: TunnelModules) {
    const { clock, limits } = modules;
    specimens.serverTunnel = this;
    this.#peer = peer;
    this.#host = host;
    this.#clock = clock;
    const settings = {
      initialWindowSize: limits.streamWindow,
      maxFrameSize: limits.maxFrameSize,
      maxHeaderListSize: tunnelLimits.serverHeaderList,
      maxConcurrentStreams: tunnelLimits.serverStreams,
    };
    const { connectionWindow } = limits;
    this.#link = new TunnelConnection(link, { role: "server", settings, connectionWindow }, modules, this);
  }

  /**
   * GOAWAY twice (RFC 9113 6.8): the first says that there will be another, the second, a round trip later, which stream was the last.
   * Streams that the client opened in between are served.
   */
  retire(): void {
    if (this.#retirement === "announced" || this.#retirement === "said") return;
    this.#retirement = "announced";
    this.#link.connection.announceGoaway();
    this.#link.connection.ping(farewell);
    this.#clock.after(pongPatienceMs, () => this.#sayLast());
  }

  retireAfterFirst(): void {
    if (this.#retirement !== "no") return;
    this.#retirement = "after-first";
    this.#clock.after(firstStreamWithinMs, () => this.retire());
  }

  destroy(why?: TunnelError): void {
    if (why === undefined) this.#link.destroy("destroyed by us");
    else this.#link.cut(why);
  }

  tick(nowMs: number): void {
    this.#link.tick(nowMs);
  }

  /** @internal TunnelSide. */
  request(stream: H2Stream, head: RequestHead, ended: boolean): void {
    this.#host.onStream(new Incoming(this, this.#link, stream, head, this.#peer, ended));
    if (this.#retirement === "after-first") this.retire();
  }

  /** @internal TunnelSide. */
  settled(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#host.onBegun();
  }

  /** @internal TunnelSide: a client that leaves needs nothing more once its streams are over. */
  leaving(): void {
    this.#isClientLeaving = true;
    this.streamGone();
  }

  /** @internal TunnelSide. */
  pong(): void {
    if (this.#retirement === "announced") this.#sayLast();
  }

  /** @internal TunnelSide. */
  lost(error: TunnelError): void {
    this.#host.onClosed(error);
  }

  /** @internal a stream is gone. */
  streamGone(): void {
    if (this.#retirement !== "said" && !this.#isClientLeaving) return;
    if (this.#link.connection.streams === 0) this.#link.finish("retired");
  }

  #sayLast(): void {
    if (this.#retirement === "said" || this.#link.isGone) return;
    this.#retirement = "said";
    this.#link.connection.goaway();
    this.streamGone();
  }
}

class Incoming implements IncomingStream {
  readonly headers: Headers;
  readonly peer: TunnelPeer;
  onAbandoned: ((why?: TunnelError) => void) | undefined;
  readonly #link: TunnelConnection;
  readonly #stream: H2Stream;
  readonly #end: WaitingStream;
  #isAnswered = false;

  constructor(
    server: OwnServer,
    link: TunnelConnection,
    stream: H2Stream,
    head: RequestHead,
    peer: TunnelPeer,
    ended: boolean,
  ) {
    this.headers = requestHeaders(head);
    specimens.request = this;
    this.peer = peer;
    this.#link = link;
    this.#stream = stream;
    this.#end = new WaitingStream(server, this, link, stream, ended);
  }

  accept(headers: Readonly<Record<string, string | number>>): TunnelStream {
    this.#isAnswered = true;
    this.#end.decided();
    const { ":status": status = 200, ...fields } = headers;
    this.#link.connection.answer(this.#stream, Number(status), fieldsOf(fields));
    return this.#end;
  }

  refuse(status: number, headers: Readonly<Record<string, string>> = {}): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    this.#link.connection.answer(this.#stream, status, fieldsOf(headers), true);
    // What the peer still sends is of no use: RFC 9113 8.1 lets a server say so once its answer is complete.
    this.#end.abandon(errorCodes.NO_ERROR);
  }

  /** @internal whether DATA may only be held, since nobody has decided about it. */
  get isUndecided(): boolean {
    return !this.#isAnswered;
  }

  /** @internal the stream went before its answer. */
  abandoned(): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    // What it has sent, and may have said to be all, is nobody's.
    this.#end.abandon(errorCodes.CANCEL);
    this.onAbandoned?.(this.#link.problem);
  }
}

/** A stream whose server may still have to decide about it: until then little is held for it, and its end is told to the decision. */
class WaitingStream extends OwnStream {
  readonly #server: OwnServer;
  /** Not kept once it is answered: its headers are of no use to a connection that lasts. */
  #incoming: Incoming | undefined;

  constructor(server: OwnServer, incoming: Incoming, link: TunnelConnection, stream: H2Stream, ended: boolean) {
    super(link, stream, ended);
    this.#server = server;
    this.#incoming = incoming;
  }

  decided(): void {
    this.#incoming = undefined;
  }

  override data(stream: H2Stream, piece: Uint8Array): void {
    super.data(stream, piece);
    if (this.#incoming?.isUndecided === true && this.held > mostEarlyOctets) this.abandon(errorCodes.ENHANCE_YOUR_CALM);
  }

  override closed(): void {
    super.closed();
    this.#incoming?.abandoned();
    this.#server.streamGone();
  }
}

const farewell = Uint8Array.of(0x66, 0x61, 0x72, 0x65, 0x77, 0x65, 0x6c, 0x6c);
const pongPatienceMs = 1_000;
const firstStreamWithinMs = 1_000;
/** Of DATA that comes before the answer: nobody we know sends any. */
const mostEarlyOctets = 65_536;
