/**
 * A stream of our HTTP/2 engine as one end of a relay. What comes while nobody may take it is held, within the stream's window; what
 * can't be sent yet waits, and the relay is told to hold back.
 */
import type { H2Connection } from "../../../core/protocol/h2/connection.ts";
import { errorCodes } from "../../../core/protocol/h2/error-code.ts";
import type { H2Stream, StreamEnd, StreamListener } from "../../../core/protocol/h2/stream.ts";
import { keep } from "../../relay/lending.ts";
import { nobody, pauseReasons, type EndListener, type PauseReason, type ResetCause } from "../../relay/byte-end.ts";
import { TunnelError, type TunnelStream } from "../tunnel.ts";
import { HeldBytes } from "./held-bytes.ts";

/** What a stream asks of its tunnel. */
export interface StreamHost {
  readonly connection: H2Connection;
  /** As the connection's own: octets that may be written over once this returns. */
  send(stream: H2Stream, chunk: Uint8Array): number;
  /** Why the tunnel is gone, once it is. */
  readonly problem: TunnelError | undefined;
  /** Calls `flush` before what has just been received is over. */
  flushSoon(stream: OwnStream): void;
  /** @returns false when there is no memory to hold so many octets for a stream. */
  mayHold(octets: number): boolean;
  /** Octets are held no longer. */
  holdsNoMore(octets: number): void;
}

export class OwnStream implements TunnelStream, StreamListener {
  listener: EndListener = nobody;
  readonly #host: StreamHost;
  readonly #stream: H2Stream;
  #pauses: number = pauseReasons.unjoined;
  /** `ending`: the peer's end has come, and stands behind what is held. */
  #reading: "open" | "ending" | "ended" | "cut";
  /** Why it was cut while nobody was there to be told, or what came before was not read yet. */
  #untold: ResetCause | undefined;
  #isGone = false;
  #saidClosed = false;
  #held: HeldBytes | undefined;
  /** Small pieces of one read, to be written as one. */
  #small: Uint8Array | undefined;
  #smallLength = 0;
  /** Not a view of what was read. */
  #smallIsOurs = false;
  /** What was not taken yet, the first from `#from` on. */
  readonly #unsent: Uint8Array[] = [];
  #from = 0;
  #endsAfterUnsent = false;

  /** @param ended the peer has sent no more than its head. */
  constructor(host: StreamHost, stream: H2Stream, ended: boolean) {
    this.#host = host;
    this.#stream = stream;
    this.#reading = ended ? "ending" : "open";
    stream.listener = this;
  }

  get id(): number {
    return this.#stream.id;
  }

  /** Bytes that came and could not be handed on. */
  get held(): number {
    return this.#held?.length ?? 0;
  }

  write(chunk: Uint8Array): boolean {
    if (this.#unsent.length > 0) {
      this.#unsent.push(keep(chunk));
      return false;
    }
    const taken = this.#host.send(this.#stream, chunk);
    if (taken >= chunk.length) return true;
    this.#unsent.push(keep(taken === 0 ? chunk : chunk.subarray(taken)));
    return false;
  }

  end(): void {
    if (this.#unsent.length > 0) this.#endsAfterUnsent = true;
    else this.#host.connection.end(this.#stream);
  }

  reset(): void {
    this.abandon(errorCodes.CONNECT_ERROR);
  }

  /** As {@link reset}, with another code. */
  abandon(errorCode: number): void {
    if (this.#reading !== "ended") this.#reading = "cut";
    this.#drop();
    if (this.#isGone) this.#sayClosed();
    else this.#host.connection.reset(this.#stream, errorCode);
  }

  pause(reason: PauseReason): void {
    this.#pauses |= reason;
  }

  resume(reason: PauseReason): void {
    this.#pauses &= ~reason;
    if (reason === pauseReasons.unjoined) this.#tellUntold();
    if (this.#pauses === 0) this.#deliver();
  }

  /** Hands on what was gathered from one read. */
  flush(): void {
    const small = this.#small;
    if (small === undefined) return;
    const bytes = small.subarray(0, this.#smallLength);
    this.#small = undefined;
    this.#handOn(bytes);
  }

  /** @internal StreamListener: servers give no answers, and a client's are heard before it has this. */
  answered(): void {}

  /** @internal StreamListener. */
  data(_stream: H2Stream, piece: Uint8Array): void {
    if (piece.length >= smallPiece) {
      this.flush();
      this.#handOn(piece);
    } else this.#gather(piece);
  }

  /** @internal StreamListener. */
  ended(): void {
    this.flush();
    if (this.#reading !== "open") return;
    this.#reading = "ending";
    if (this.#pauses === 0) this.#deliver();
  }

  /** @internal StreamListener. */
  writable(): void {
    const { connection } = this.#host;
    for (let chunk = this.#unsent[0]; chunk !== undefined; chunk = this.#unsent[0]) {
      this.#from = connection.send(this.#stream, chunk, this.#from);
      if (this.#from < chunk.length) return;
      this.#unsent.shift();
      this.#from = 0;
    }
    if (this.#endsAfterUnsent) connection.end(this.#stream);
    else this.listener.drained(this);
  }

  /** @internal StreamListener. */
  cut(_stream: H2Stream, end: StreamEnd): void {
    // All was said before: it is not lost with what the peer doesn't want any more (RFC 9113 8.1).
    if (this.#reading === "ending" && end.by === "peer" && end.errorCode === errorCodes.NO_ERROR) {
      this.#unsent.length = 0;
      this.#untold = causeOf(end, this.#host.problem);
      return;
    }
    this.#cutFor(causeOf(end, this.#host.problem));
  }

  /** @internal StreamListener. */
  closed(): void {
    this.#isGone = true;
    this.#sayClosed();
  }

  #handOn(bytes: Uint8Array): void {
    // Whoever was handed the bytes before them may have reset it.
    if (this.#reading === "cut") return this.#host.connection.consumed(this.#stream, bytes.length);
    if (this.#pauses === 0 && this.held === 0) {
      this.listener.data(this, bytes);
      this.#host.connection.consumed(this.#stream, bytes.length);
    } else {
      if (!this.#host.mayHold(bytes.length)) return this.#giveUp(bytes.length);
      this.#held ??= new HeldBytes();
      this.#held.add(bytes);
    }
  }

  #gather(piece: Uint8Array): void {
    // It is copied there in any case; not before what came first.
    if (this.#pauses !== 0 || this.held > 0) {
      this.flush();
      return this.#handOn(piece);
    }
    const small = this.#small;
    if (small === undefined) {
      // The only one of this read, most likely: then it is not copied.
      this.#small = piece;
      this.#smallLength = piece.length;
      this.#smallIsOurs = false;
      return this.#host.flushSoon(this);
    }
    const length = this.#smallLength + piece.length;
    if (length > mostGathered) {
      this.flush();
      return this.#gather(piece);
    }
    if (!this.#smallIsOurs || length > small.length) {
      const larger = Buffer.allocUnsafe(Math.min(mostGathered, length * 4));
      larger.set(small.subarray(0, this.#smallLength));
      this.#small = larger;
      this.#smallIsOurs = true;
    }
    this.#small?.set(piece, this.#smallLength);
    this.#smallLength = length;
  }

  /** What is held, as far as it is wanted, and then the end that stood behind it. */
  #deliver(): void {
    while (this.#pauses === 0) {
      const bytes = this.#held?.take();
      if (bytes === undefined) break;
      this.#host.holdsNoMore(bytes.length);
      this.listener.data(this, bytes);
      this.#host.connection.consumed(this.#stream, bytes.length);
    }
    if (this.held > 0 || this.#pauses !== 0) return;
    this.#held = undefined;
    if (this.#reading === "ending") {
      this.#reading = "ended";
      this.listener.ended(this);
      this.#tellUntold();
    }
    if (this.#isGone) this.#sayClosed();
  }

  #tellUntold(): void {
    // In its turn.
    if (this.#reading === "ending") return;
    const cause = this.#untold;
    this.#untold = undefined;
    if (cause !== undefined) this.listener.reset(this, cause);
    if (this.#isGone) this.#sayClosed();
  }

  /** Its reader has stalled, and there is no memory left to wait for it. */
  #giveUp(octets: number): void {
    this.#host.connection.consumed(this.#stream, octets);
    this.#cutFor({ kind: "memory" });
    this.#host.connection.reset(this.#stream, errorCodes.ENHANCE_YOUR_CALM);
  }

  /** Told now, or to whoever comes to listen. */
  #cutFor(cause: ResetCause): void {
    this.#drop();
    this.#reading = "cut";
    if (this.listener === nobody) this.#untold = cause;
    else this.listener.reset(this, cause);
  }

  #drop(): void {
    if (this.held > 0) this.#host.holdsNoMore(this.held);
    const octets = this.held + (this.#small === undefined ? 0 : this.#smallLength);
    this.#held = undefined;
    this.#small = undefined;
    this.#unsent.length = 0;
    if (octets > 0) this.#host.connection.consumed(this.#stream, octets);
  }

  /** Once, and not before the relay has had everything. */
  #sayClosed(): void {
    if (this.#saidClosed || this.listener === nobody || this.#reading === "open" || this.#reading === "ending") return;
    this.#saidClosed = true;
    this.listener.closed(this);
  }
}

/** @param problem the tunnel's. */
function causeOf(end: StreamEnd, problem: TunnelError | undefined): ResetCause {
  switch (end.by) {
    case "peer":
    case "fault":
      return { kind: "stream", code: end.errorCode };
    case "goaway":
    case "connection":
      return { kind: "tunnel", error: problem ?? new TunnelError({ code: "tunnel.lost", detail: end.by }) };
  }
}

/** Below this a write of its own costs more than copying it to its neighbours. */
const smallPiece = 512;
const mostGathered = 16_384;
