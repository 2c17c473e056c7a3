/** How streams begin and end, and what it costs a peer to make us end one. */
import type { AbuseAccount, AbuseBudget } from "./abuse-budget.ts";
import { errorCodes } from "./error-code.ts";
import { headersFrames, resetFrame } from "./frame-writer.ts";
import { H2Error, protocolError } from "./h2-error.ts";
import type { HeaderField } from "./hpack/field.ts";
import type { SendSide, Transport } from "./send-side.ts";
import { afterLocalEnd, afterRemoteEnd, H2Stream, noListener, type StreamEnd, type StreamListener } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

export class StreamLife {
  /** Monotonic milliseconds of what is being received. */
  nowMs = 0;
  readonly #transport: Transport;
  readonly #streams: StreamTable;
  readonly #send: SendSide;
  readonly #budget: AbuseBudget;
  readonly #receiveWindow: () => number;

  /** @param receiveWindow of a new stream. */
  constructor(
    parts: {
      readonly transport: Transport;
      readonly streams: StreamTable;
      readonly send: SendSide;
      readonly budget: AbuseBudget;
    },
    receiveWindow: () => number,
  ) {
    this.#transport = parts.transport;
    this.#streams = parts.streams;
    this.#send = parts.send;
    this.#budget = parts.budget;
    this.#receiveWindow = receiveWindow;
  }

  begin(id: number, listener: StreamListener, isConnect: boolean): H2Stream {
    const windows = { send: this.#send.peer.initialWindowSize, receive: this.#receiveWindow() };
    const stream = new H2Stream(id, listener, windows, isConnect);
    this.#streams.add(stream);
    return stream;
  }

  /** @throws RangeError where {@link HpackEncoder.encode} does. */
  writeHead(stream: H2Stream, fields: readonly HeaderField[], endStream: boolean): void {
    this.writeBlock(stream, this.#send.encoder.encode(fields), endStream);
  }

  writeBlock(stream: H2Stream, block: Uint8Array, endStream: boolean): void {
    this.#transport.write(headersFrames(stream.id, block, endStream, this.#send.peer.maxFrameSize));
    if (endStream) this.endLocally(stream);
  }

  /** We send no more. */
  endLocally(stream: H2Stream): void {
    stream.state = afterLocalEnd(stream.state);
    this.#send.forget(stream);
    this.closeIfOver(stream);
  }

  /** The peer sends no more, and the listener has heard it. */
  endRemotely(stream: H2Stream): void {
    if (stream.state !== "closed") stream.state = afterRemoteEnd(stream.state);
    this.closeIfOver(stream);
  }

  closeIfOver(stream: H2Stream): void {
    if (stream.state === "closed") this.close(stream);
  }

  /** Ends before its time, and the listener hears why. */
  cut(stream: H2Stream, end: StreamEnd): void {
    if (!this.#leave(stream)) return;
    stream.listener.cut(stream, end);
    this.#tellClosed(stream);
  }

  close(stream: H2Stream): void {
    if (this.#leave(stream)) this.#tellClosed(stream);
  }

  /** RST_STREAM; what the peer still sends in it is ignored. */
  reset(stream: H2Stream, errorCode: number): void {
    this.#writeReset(stream.id, errorCode);
    this.close(stream);
  }

  /** The peer may try elsewhere: nobody has looked at it. */
  refuse(streamId: number): H2Error | undefined {
    this.#writeReset(streamId, errorCodes.REFUSED_STREAM);
    return this.spend("refused-streams");
  }

  /** The peer broke the rules in a stream. */
  fault(stream: H2Stream, detail: string, errorCode: number = errorCodes.PROTOCOL_ERROR): H2Error | undefined {
    this.#writeReset(stream.id, errorCode);
    this.cut(stream, { by: "fault", errorCode, detail });
    return this.spend("stream-errors");
  }

  /** The same in a stream that may not be there; one that nobody has opened cannot be reset (RFC 9113 6.4). */
  faultOf(streamId: number, detail: string, errorCode: number): H2Error | undefined {
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) return this.fault(stream, detail, errorCode);
    if (this.#streams.absent(streamId) === "idle") return protocolError(detail, errorCode);
    this.#writeReset(streamId, errorCode);
    return this.spend("stream-errors");
  }

  /** @returns the end of the connection, if the peer has overdrawn the account. */
  spend(account: AbuseAccount): H2Error | undefined {
    return this.#budget.spend(account, this.nowMs) ? undefined : new H2Error({ code: "h2.abuse", account });
  }

  /** Before anybody is told: what listeners do meanwhile must not find it again. @returns false if it has left before. */
  #leave(stream: H2Stream): boolean {
    stream.state = "closed";
    this.#send.forget(stream);
    return this.#streams.remove(stream);
  }

  #tellClosed(stream: H2Stream): void {
    const { listener } = stream;
    stream.listener = noListener;
    listener.closed(stream);
  }

  #writeReset(streamId: number, errorCode: number): void {
    this.#transport.write(resetFrame(streamId, errorCode));
    this.#streams.rememberReset(streamId);
  }
}
