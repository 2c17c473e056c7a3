/**
 * A stream of node:http2 as one end of a relay, with the three things Node leaves to be inferred: an end that was END_STREAM,
 * a reset that was not, and a reset of ours without an END_STREAM in front of it. Everything that relies on Node's
 * insides is in this file, and node-stream.test.ts watches it.
 */
import type { Http2Stream } from "node:http2";
import { nobody, pauseReasons, type EndListener, type PauseReason, type ResetCause } from "../../relay/byte-end.ts";
import { keep } from "../../relay/lending.ts";
import type { TunnelError, TunnelStream } from "../tunnel.ts";
import { http2 } from "./http2.ts";

/** What a stream asks of its tunnel. */
export interface StreamHost {
  /** Why the connection beneath has gone, once it has. */
  readonly lost: TunnelError | undefined;
  /** Bytes are on their way into the connection. */
  wrote(): void;
}

export class NodeStream implements TunnelStream {
  readonly #stream: OwnedStream;
  readonly #host: StreamHost;
  listener: EndListener = nobody;
  #pauses: number = pauseReasons.unjoined;
  #readEnd: "open" | "ended" | "truncated" = "open";
  /** By us: Node ends a stream that the peer closes, too. */
  #writeEnded = false;
  #resetByUs = false;
  /** It closed while nobody was there to be told: a 200 and a reset may arrive in one breath. */
  #closedUnheard = false;

  constructor(stream: Http2Stream, host: StreamHost) {
    this.#stream = stream;
    this.#host = host;
    this.#stream[owner] = this;
    // An END_STREAM on the HEADERS was pushed before anybody could look.
    if (stream.endAfterHeaders) this.#readEnd = "ended";
    // Node pushes the null that ends the readable side for END_STREAM and for RST_STREAM(NO_ERROR) alike; by then it has
    // marked the stream closed in the second case only.
    this.#stream.push = pushNoting;
    // Paused first: a 'data' listener on a stream that nobody paused starts it.
    stream.pause();
    stream.on("data", onData);
    stream.on("end", onEnd);
    stream.on("drain", onDrain);
    stream.on("error", ignore);
    stream.on("close", onClose);
  }

  get id(): number {
    return this.#stream.id ?? 0;
  }

  write(chunk: Uint8Array): boolean {
    // A closed stream is about to say so; what is written to it meanwhile has nowhere to go.
    if (this.#stream.destroyed || this.#stream.closed) return true;
    this.#host.wrote();
    return this.#stream.write(keep(chunk));
  }

  end(): void {
    this.#writeEnded = true;
    if (!this.#stream.destroyed) this.#stream.end();
  }

  reset(): void {
    if (this.#stream.destroyed) return;
    this.#resetByUs = true;
    resetWithoutEnd(this.#stream, http2().constants.NGHTTP2_CONNECT_ERROR);
    // A stream that had ended both ways is over for HTTP/2, and for Node only once its last bytes were read: nobody will.
    this.#stream.removeListener("data", onData);
    this.#stream.resume();
  }

  pause(reason: PauseReason): void {
    this.#pauses |= reason;
    if (!this.#resetByUs) this.#stream.pause();
  }

  resume(reason: PauseReason): void {
    this.#pauses &= ~reason;
    if (reason === pauseReasons.unjoined && this.#closedUnheard) return this.streamClosed();
    if (this.#pauses === 0) this.#stream.resume();
  }

  /** @internal the readable side got its last chunk. */
  noteReadEnd(wasClosed: boolean): void {
    if (this.#readEnd === "open") this.#readEnd = wasClosed ? "truncated" : "ended";
  }

  /** @internal everything before the end has been handed over. */
  readEnded(): void {
    if (this.#readEnd === "ended" && !this.#resetByUs) this.listener.ended(this);
  }

  /** @internal the stream is gone from the session. */
  streamClosed(): void {
    if (this.listener === nobody) {
      this.#closedUnheard = true;
      return;
    }
    const { rstCode, writableFinished } = this.#stream;
    // A peer may end its half and abandon ours with NO_ERROR (RFC 9113 8.1), as Envoy does: ours is then cut.
    const finished = this.#writeEnded && writableFinished;
    const orderly = this.#readEnd === "ended" && finished && rstCode === http2().constants.NGHTTP2_NO_ERROR;
    if (!orderly && !this.#resetByUs) this.listener.reset(this, this.#cause());
    this.listener.closed(this);
  }

  #cause(): ResetCause {
    const { lost } = this.#host;
    return lost === undefined ? { kind: "stream", code: this.#stream.rstCode } : { kind: "tunnel", error: lost };
  }
}

/**
 * RST_STREAM and nothing before it. `close()` alone ends the writable side first, which sends an END_STREAM that makes a cut
 * connection look complete to the peer; a stream that is ending already is not ended again.
 * @param code not NO_ERROR, which waits for the writable side to finish.
 */
export function resetWithoutEnd(stream: Http2Stream, code: number): void {
  if (stream.destroyed) return;
  (stream as unknown as { _writableState: { ending: boolean } })._writableState.ending = true;
  stream.close(code);
}

const owner = Symbol("owner");

type OwnedStream = Http2Stream & { [owner]?: NodeStream; push: (chunk: unknown) => boolean };

function pushNoting(this: OwnedStream, chunk: unknown): boolean {
  if (chunk === null) this[owner]?.noteReadEnd(this.closed);
  const inherited = Object.getPrototypeOf(this) as OwnedStream;
  return inherited.push.call(this, chunk);
}

function onData(this: OwnedStream, chunk: Uint8Array): void {
  const end = this[owner];
  end?.listener.data(end, chunk);
}

function onEnd(this: OwnedStream): void {
  this[owner]?.readEnded();
}

function onDrain(this: OwnedStream): void {
  const end = this[owner];
  end?.listener.drained(end);
}

function onClose(this: OwnedStream): void {
  this[owner]?.streamClosed();
}

/** The code is read at 'close'. */
function ignore(): void {}
