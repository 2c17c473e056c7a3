/**
 * The HTTP/2 machine on a link that TLS has secured: what is received goes in, what comes out is gathered and written together at the end of the
 * loop's turn, and a peer that has fallen silent is found. The same for both ends of a tunnel.
 */
import type { Clock } from "../../../core/base/clock.ts";
import { H2Connection, type ConnectionOptions } from "../../../core/protocol/h2/connection.ts";
import type { ConnectionOwner } from "../../../core/protocol/h2/connection-owner.ts";
import { errorCodes } from "../../../core/protocol/h2/error-code.ts";
import type { H2Error } from "../../../core/protocol/h2/h2-error.ts";
import type { RequestHead } from "../../../core/protocol/h2/message-head.ts";
import type { H2Stream } from "../../../core/protocol/h2/stream.ts";
import type { TunnelModules } from "../engine.ts";
import type { HeldMemory } from "../held-memory.ts";
import type { LinkListener, SecureLink } from "../secure-link.ts";
import { TunnelError, tunnelLimits } from "../tunnel.ts";
import { GatheredWrites } from "./gathered-writes.ts";
import type { OwnStream, StreamHost } from "./own-stream.ts";
import { TlsOverhead } from "./tls-overhead.ts";

/** Which end of the tunnel this is. */
export interface TunnelSide {
  request(stream: H2Stream, head: RequestHead, ended: boolean): void;
  settled(): void;
  /** No new streams: the peer takes none, or the tunnel is about to go. */
  leaving(): void;
  pong(): void;
  /** Once, last: the transport is gone and every stream has heard it. */
  lost(error: TunnelError): void;
}

export class TunnelConnection implements ConnectionOwner, StreamHost, LinkListener {
  readonly connection: H2Connection;
  /** Monotonic milliseconds. */
  readonly bornMs: number;
  readonly #link: SecureLink;
  readonly #overhead: TlsOverhead;
  readonly #clock: Clock;
  readonly #side: TunnelSide;
  readonly #memory: HeldMemory;
  /** Of each stream, while memory is not short. */
  readonly #window: number;
  #isShrunk = false;
  /** Written by the machine and not yet to the link. */
  readonly #gathered: GatheredWrites;
  #flush: NodeJS.Immediate | undefined;
  readonly #toFlush: OwnStream[] = [];
  /** Since when we wait for a sign of life; or when the last one was. */
  #life: { readonly kind: "quiet" | "awaiting"; readonly sinceMs: number };
  #problem: TunnelError | undefined;
  #phase: "open" | "ending" | "gone" = "open";
  /** No end is waited for without end. */
  #cancelPatience: (() => void) | undefined;

  constructor(link: SecureLink, options: ConnectionOptions, { clock, memory }: TunnelModules, side: TunnelSide) {
    this.#link = link;
    this.#gathered = new GatheredWrites(link);
    this.#clock = clock;
    this.#memory = memory;
    this.#window = options.settings.initialWindowSize;
    this.#side = side;
    this.bornMs = clock.nowMs();
    this.#overhead = new TlsOverhead(link.carried, this.bornMs);
    this.#life = { kind: "quiet", sinceMs: this.bornMs };
    this.connection = new H2Connection(options, this);
    link.listener = this;
    this.connection.start();
  }

  /** There is no transport any more, and every stream has heard it, or is about to. */
  get isGone(): boolean {
    return this.#phase === "gone";
  }

  /** Why it is going, once it is. */
  get problem(): TunnelError | undefined {
    return this.#problem;
  }

  /** Ends in order: what was written is sent, however slowly it is read, then the connection closes. */
  finish(detail: string): void {
    if (this.#phase !== "open") return;
    this.#phase = "ending";
    this.#problem ??= lostBecause(detail);
    this.#gathered.flush();
    this.#awaitSent();
    this.#link.end(() => this.#awaitEnd());
  }

  /** Ends at once. */
  destroy(why: string | TunnelError): void {
    this.#problem ??= typeof why === "string" ? lostBecause(why) : why;
    this.#link.destroy();
    this.#gone(this.#problem.message);
  }

  /** Ends at once for all streams; the peer gets a GOAWAY and is not listened to any more. */
  cut(why: TunnelError): void {
    if (this.#phase !== "open") return this.destroy(why);
    this.#problem ??= why;
    this.connection.goaway();
    this.#breakOff(why);
  }

  /** Called about once a second. */
  tick(nowMs: number): void {
    if (this.#phase !== "open") return;
    this.#link.rest();
    if (this.#overhead.isOverdrawn(this.#link.carried, nowMs)) {
      // Not by breaking off: TLS would go on with what brings no data.
      return this.destroy(new TunnelError({ code: "tunnel.abuse", account: "tls-overhead" }));
    }
    if (this.#isShrunk && !this.#memory.isShort) {
      this.#isShrunk = !this.connection.resizeWindows(this.#window);
    }
    const { kind, sinceMs } = this.#life;
    const elapsedMs = nowMs - sinceMs;
    if (kind === "awaiting" && elapsedMs >= tunnelLimits.pongWithinMs) {
      this.#problem = new TunnelError({ code: "tunnel.unresponsive" });
      return this.destroy("unresponsive");
    }
    if (kind === "awaiting" || elapsedMs < tunnelLimits.pingEveryMs) return;
    this.#life = { kind: "awaiting", sinceMs: nowMs };
    this.connection.ping(pingPayload);
  }

  /** @internal ConnectionOwner. */
  write(bytes: Uint8Array): void {
    if (this.#phase === "gone") return;
    this.#gathered.add(bytes);
    if (this.#gathered.octets >= flushAtOctets) this.#gathered.flush();
    else this.#flush ??= setImmediate(this.#flushNow);
  }

  /** @internal ConnectionOwner. */
  room(): number {
    return this.#phase === "open" ? mostQueued - this.#link.queued - this.#gathered.octets : 0;
  }

  /** @internal ConnectionOwner. */
  request(stream: H2Stream, head: RequestHead, ended: boolean): void {
    this.#side.request(stream, head, ended);
  }

  /** @internal ConnectionOwner. */
  settled(): void {
    this.#side.settled();
  }

  /** @internal ConnectionOwner. */
  leaving(): void {
    this.#side.leaving();
  }

  /** @internal ConnectionOwner. */
  pong(): void {
    this.#side.pong();
  }

  /** @internal StreamHost. */
  send(stream: H2Stream, chunk: Uint8Array): number {
    const taken = this.connection.send(stream, chunk);
    if (this.#gathered.isLent) this.#gathered.flush();
    return taken;
  }

  /** @internal StreamHost. */
  flushSoon(stream: OwnStream): void {
    this.#toFlush.push(stream);
  }

  /** @internal StreamHost. */
  mayHold(octets: number): boolean {
    const may = this.#memory.hold(octets);
    if (!this.#isShrunk && this.#memory.isShort && this.#window > shortWindow) {
      this.#isShrunk = this.connection.resizeWindows(shortWindow);
    }
    return may;
  }

  /** @internal StreamHost. */
  holdsNoMore(octets: number): void {
    this.#memory.release(octets);
  }

  /** @internal LinkListener. */
  drained(): void {
    this.connection.resume();
  }

  /** @internal LinkListener. */
  ended(): void {
    this.#gone("closed by the peer");
  }

  /** @internal LinkListener. */
  failed(error: TunnelError): void {
    // After a record that is none Node reads no more, and leaves the socket open (tried on Node 24.21).
    this.destroy(error);
  }

  /** @internal LinkListener. */
  closed(): void {
    this.#cancelPatience?.();
    this.#gone("closed by the peer");
  }

  /** @internal LinkListener. */
  received(chunk: Uint8Array, records: number): void {
    if (this.#phase !== "open") return;
    const nowMs = this.#clock.nowMs();
    this.#overhead.carried(chunk.length, records);
    // Whatever comes, somebody is there.
    if (this.#life.kind === "awaiting") this.#life = { kind: "quiet", sinceMs: nowMs };
    const failed = this.connection.receive(chunk, nowMs);
    for (const stream of this.#toFlush) stream.flush();
    this.#toFlush.length = 0;
    if (failed !== undefined) return this.#breakOff(problemOf(failed));
    // DATA waits for room, but answers, resets and acknowledgements go out as fast as a peer can ask for them, also one that reads none.
    if (this.#link.queued + this.#gathered.octets <= mostUnread) return;
    this.#breakOff(new TunnelError({ code: "tunnel.abuse", account: "unread-answers" }));
  }

  #breakOff(problem: TunnelError): void {
    if (this.#phase === "gone") return;
    this.#phase = "ending";
    this.#problem ??= problem;
    this.#gathered.flush();
    this.#link.end(nothing);
    this.#awaitEnd();
    this.#side.leaving();
    this.connection.lose();
    // Nothing of it is of use any more, and it may be a flood.
    this.#link.deafen();
  }

  /** As long as some of it is taken, or the peer may have been away for a moment. */
  #awaitSent(): void {
    const left = this.#link.queued;
    this.#patience(tunnelLimits.pongWithinMs, () => {
      if (this.#link.queued < left) this.#awaitSent();
      else this.destroy("what was left was not read");
    });
  }

  /** All is sent, or nobody cares: the peer's end is not waited for. */
  #awaitEnd(): void {
    this.#patience(lastWordsMs, () => this.destroy("ended by us"));
  }

  #patience(withinMs: number, lost: () => void): void {
    this.#cancelPatience?.();
    this.#cancelPatience = this.#link.isClosed ? undefined : this.#clock.after(withinMs, lost);
  }

  readonly #flushNow = (): void => {
    this.#flush = undefined;
    this.#gathered.flush();
  };

  #gone(detail: string): void {
    if (this.#phase === "gone") return;
    this.#phase = "gone";
    this.#problem ??= lostBecause(detail);
    this.#gathered.forget();
    if (this.#flush !== undefined) clearImmediate(this.#flush);
    this.#link.close();
    // It may never come to that: a peer that has said goodbye, and reads no more, would keep the socket for good.
    this.#patience(lastWordsMs, () => this.#link.destroy());
    this.#side.leaving();
    this.connection.lose();
    this.#side.lost(this.#problem);
  }
}

function nothing(): void {}

function lostBecause(detail: string): TunnelError {
  return new TunnelError({ code: "tunnel.lost", detail });
}

function problemOf(error: H2Error): TunnelError {
  const { type } = error;
  switch (type.code) {
    case "h2.abuse":
      return new TunnelError({ code: "tunnel.abuse", account: type.account });
    case "h2.no-preface":
      return new TunnelError({ code: "tunnel.bad-preface", began: type.began });
    case "h2.protocol":
      return type.errorCode === errorCodes.ENHANCE_YOUR_CALM
        ? new TunnelError({ code: "tunnel.abuse", account: type.detail })
        : new TunnelError({ code: "tunnel.protocol-error", detail: type.detail });
  }
}

const pingPayload = Uint8Array.of(0x61, 0x6d, 0x62, 0x69, 0x65, 0x6e, 0x74, 0x64);
/** More than this in one turn of the loop is written before its end: the far side need not wait. */
const flushAtOctets = 60_000;
/** What may be on its way from us into the socket: enough to keep it busy with what the kernel holds, and a bound where nobody reads. */
const mostQueued = 256 << 10;
/** What is not DATA comes on top. */
const mostUnread = mostQueued + (1 << 20);
/** Of a stream while memory is short. */
const shortWindow = 65_535;
/** For a GOAWAY to be sent and read. */
const lastWordsMs = 500;
