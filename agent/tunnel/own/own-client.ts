/** The client's half of HBONE on our own HTTP/2. */
import { specimens } from "../../../core/base/specimens.ts";
import type { Clock } from "../../../core/base/clock.ts";
import { errorCodes } from "../../../core/protocol/h2/error-code.ts";
import type { AnswerHead } from "../../../core/protocol/h2/message-head.ts";
import type { H2Stream, StreamEnd, StreamListener } from "../../../core/protocol/h2/stream.ts";
import { readAnswer } from "../answer.ts";
import type { SecureLink } from "../secure-link.ts";
import {
  TunnelError,
  tunnelLimits,
  type ClientTunnel,
  type StreamOpener,
  type TunnelLimits,
  type TunnelPhase,
} from "../tunnel.ts";
import type { TunnelModules } from "../engine.ts";
import { answerHeaders, fieldsOf } from "./fields.ts";
import { OwnStream } from "./own-stream.ts";
import { TunnelConnection, type TunnelSide } from "./tunnel-connection.ts";

export class OwnClient implements ClientTunnel, TunnelSide {
  readonly peerIdentity: string;
  changed: (() => void) | undefined;
  readonly #link: TunnelConnection;
  readonly #clock: Clock;
  readonly #limits: TunnelLimits;
  #phase: TunnelPhase = "open";
  #streams = 0;

  /** @param link whose peer has proven to be `peerIdentity`. */
  constructor(link: SecureLink, peerIdentity: string, modules: TunnelModules) {
    const { clock, limits } = modules;
    specimens.clientTunnel = this;
    this.#limits = limits;
    this.peerIdentity = peerIdentity;
    this.#clock = clock;
    const settings = {
      initialWindowSize: limits.streamWindow,
      maxFrameSize: limits.maxFrameSize,
      maxHeaderListSize: tunnelLimits.clientHeaderList,
    };
    const { connectionWindow } = limits;
    this.#link = new TunnelConnection(link, { role: "client", settings, connectionWindow }, modules, this);
  }

  get bornMs(): number {
    return this.#link.bornMs;
  }

  get phase(): TunnelPhase {
    return this.#phase;
  }

  get streams(): number {
    return this.#streams;
  }

  get room(): number {
    if (this.#phase !== "open") return 0;
    // Until the peer's SETTINGS are here: as many as we ever open.
    return Math.min(this.#limits.clientStreams, this.#link.connection.peer.maxConcurrentStreams) - this.#streams;
  }

  reserve(): void {
    this.#streams += 1;
    this.changed?.();
  }

  release(): void {
    this.#streams -= 1;
    this.#finishIfLeft();
    this.changed?.();
  }

  open(headers: Readonly<Record<string, string>>, opener: StreamOpener, withinMs = defaultDeadlineMs): void {
    const opening = new Opening(this, this.#link, opener);
    const stream = this.#phase === "closed" ? undefined : this.#begin(headers, opening);
    if (stream !== undefined) return opening.await(stream, this.#clock, withinMs);
    // Its peer leaves, or no stream has an id any more.
    this.retire();
    opening.impossible(this.#link.problem ?? new TunnelError({ code: "tunnel.stream-refused" }));
  }

  retire(): void {
    if (this.#phase !== "open") return;
    this.#phase = "retired";
    this.#finishIfLeft();
    this.changed?.();
  }

  destroy(why?: TunnelError): void {
    this.#link.destroy(why ?? "destroyed by us");
  }

  tick(nowMs: number): void {
    this.#link.tick(nowMs);
  }

  /** Why there is no tunnel any more. */
  get problem(): TunnelError {
    return this.#link.problem ?? new TunnelError({ code: "tunnel.lost", detail: "closed" });
  }

  /** @internal TunnelSide: no server asks a client for anything. */
  request(): void {}

  /** @internal TunnelSide. */
  settled(): void {
    this.changed?.();
  }

  /** @internal TunnelSide. */
  leaving(): void {
    this.retire();
  }

  /** @internal TunnelSide. */
  pong(): void {}

  /** @internal TunnelSide. */
  lost(): void {
    this.#phase = "closed";
    this.changed?.();
  }

  #begin(headers: Readonly<Record<string, string>>, opening: Opening): H2Stream | undefined {
    try {
      return this.#link.connection.open(fieldsOf(headers), opening);
    } catch (thrown) {
      // A bug of ours, and no reason to lose the room for others.
      this.release();
      throw thrown;
    }
  }

  #finishIfLeft(): void {
    if (this.#phase !== "retired" || this.#streams > 0) return;
    this.#link.connection.goaway();
    this.#link.finish("retired");
  }
}

/** A CONNECT that waits for its answer: heard once, by whatever comes first. Afterwards it counts the stream's end. */
class Opening implements StreamListener {
  readonly #tunnel: OwnClient;
  readonly #link: TunnelConnection;
  readonly #opener: StreamOpener;
  #stream: H2Stream | undefined;
  #cancelDeadline: (() => void) | undefined;
  #isSettled = false;

  constructor(tunnel: OwnClient, link: TunnelConnection, opener: StreamOpener) {
    this.#tunnel = tunnel;
    this.#link = link;
    this.#opener = opener;
    specimens.opening = this;
  }

  await(stream: H2Stream, clock: Clock, withinMs: number): void {
    this.#stream = stream;
    this.#cancelDeadline = clock.after(withinMs, () =>
      this.#fail(new TunnelError({ code: "tunnel.answer-timeout", afterMs: withinMs })),
    );
  }

  /** There was no stream to be had. */
  impossible(error: TunnelError): void {
    this.#tunnel.release();
    this.#opener.failed(error);
  }

  answered(stream: H2Stream, head: AnswerHead, ended: boolean): void {
    const response = readAnswer(answerHeaders(head), ended);
    if (response instanceof TunnelError) return this.#fail(response);
    if (!this.#settle()) return;
    const end = new OpenedStream(this.#tunnel, this.#link, stream);
    this.#opener.opened(end, response);
  }

  data(_stream: H2Stream, piece: Uint8Array): void {
    // Data before the answer is no HTTP/2; the machine resets such a stream.
    if (this.#stream !== undefined) this.#link.connection.consumed(this.#stream, piece.length);
  }

  ended(): void {}

  writable(): void {}

  cut(_stream: H2Stream, end: StreamEnd): void {
    this.#fail(this.#problemOf(end));
  }

  closed(): void {
    this.#tunnel.release();
    this.#fail(this.#tunnel.problem);
  }

  #problemOf(end: StreamEnd): TunnelError {
    switch (end.by) {
      case "peer":
        return end.errorCode === errorCodes.REFUSED_STREAM
          ? new TunnelError({ code: "tunnel.stream-refused" })
          : new TunnelError({ code: "tunnel.stream-reset", h2: end.errorCode });
      case "goaway":
        return new TunnelError({ code: "tunnel.stream-refused" });
      case "fault":
        return new TunnelError({ code: "tunnel.bad-answer", detail: end.detail });
      case "connection":
        return this.#tunnel.problem;
    }
  }

  #fail(error: TunnelError): void {
    if (!this.#settle()) return;
    if (this.#stream !== undefined) this.#link.connection.reset(this.#stream, errorCodes.CANCEL);
    this.#opener.failed(error);
  }

  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#cancelDeadline?.();
    return true;
  }
}

/** A stream that gives its room back when it is gone. */
class OpenedStream extends OwnStream {
  readonly #tunnel: OwnClient;

  constructor(tunnel: OwnClient, link: TunnelConnection, stream: H2Stream) {
    super(link, stream, false);
    this.#tunnel = tunnel;
  }

  override closed(): void {
    super.closed();
    this.#tunnel.release();
  }
}

const defaultDeadlineMs = 10_000;
