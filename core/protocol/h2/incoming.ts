/** What each frame means (RFC 9113 6), once it is one. Returned errors end the connection; faults of a stream end only that. */
import { errorCodes } from "./error-code.ts";
import { flags, frameTypes } from "./frame.ts";
import type { Disposition, FrameReader, FrameSink } from "./frame-reader.ts";
import { pingFrame, settingsAnswer } from "./frame-writer.ts";
import type { ConnectionOwner, OwnSettings } from "./connection-owner.ts";
import type { Credit } from "./credit.ts";
import { H2Error, protocolError } from "./h2-error.ts";
import { HeaderBlocks, mostBlockOctets, streamIdAt, type HeaderBlock } from "./header-block.ts";
import { HpackDecoder, type DecodedBlock } from "./hpack/decoder.ts";
import { HpackError } from "./hpack/hpack-error.ts";
import { contentLengthOf, parseAnswer, parseRequest, parseTrailers, type MalformedHead } from "./message-head.ts";
import type { HeaderField } from "./hpack/field.ts";
import type { SendSide } from "./send-side.ts";
import { parseSettings } from "./settings.ts";
import { afterRemoteEnd, noListener, type H2Stream } from "./stream.ts";
import type { StreamLife } from "./stream-life.ts";
import type { StreamTable } from "./stream-table.ts";

export interface IncomingParts {
  readonly role: "client" | "server";
  readonly owner: ConnectionOwner;
  readonly settings: OwnSettings;
  readonly streams: StreamTable;
  readonly send: SendSide;
  readonly life: StreamLife;
  readonly credit: Credit;
}

export class Incoming implements FrameSink {
  /** `settings`: nothing but those may come first. */
  phase: "settings" | "running" | "over" = "settings";
  /** The last stream of the peer that is looked at; lowered by a GOAWAY of ours. */
  lastAccepted = Infinity;
  /** PINGs of ours that the peer has to answer. */
  pongsDue = 0;
  /** What is to be done as the peer answers each of our SETTINGS, in order. */
  readonly settingsDue: (() => void)[] = [];
  readonly #parts: IncomingParts;
  readonly #isServer: boolean;
  readonly #decoder: HpackDecoder;
  readonly #blocks = new HeaderBlocks();
  /** The stream whose DATA frame is being read, and how much of the frame was data; undefined while it is ignored. */
  #reading: H2Stream | undefined;
  #dataOctets = 0;

  constructor(parts: IncomingParts) {
    this.#parts = parts;
    this.#isServer = parts.role === "server";
    this.#decoder = new HpackDecoder({ tableSize: 4_096, listSize: parts.settings.maxHeaderListSize });
  }

  frame(reader: FrameReader): Disposition | H2Error {
    if (this.phase === "over") return "skip";
    const { type, streamId, length } = reader;
    const { settings, life } = this.#parts;
    if (length > settings.maxFrameSize) return protocolError("a frame too large", errorCodes.FRAME_SIZE_ERROR);
    if (this.phase === "settings" && (type !== frameTypes.SETTINGS || (reader.flags & flags.ACK) !== 0)) {
      return new H2Error({ code: "h2.no-preface", began: `frame type ${type}` });
    }
    const { unfinished } = this.#blocks;
    const isInterrupted = type === frameTypes.CONTINUATION ? streamId !== unfinished : unfinished !== 0;
    if (isInterrupted) return protocolError("a header block was interrupted, or none was begun");
    const belongsToStream = scopes[type];
    if (belongsToStream !== undefined && belongsToStream !== streamId > 0) {
      return protocolError("a frame on the wrong stream");
    }
    switch (type) {
      case frameTypes.DATA:
        return this.#beginData(reader);
      case frameTypes.HEADERS:
      case frameTypes.CONTINUATION:
        if (length <= mostBlockOctets) return "whole";
        return protocolError("a header block too large", errorCodes.ENHANCE_YOUR_CALM);
      case frameTypes.PUSH_PROMISE:
        return protocolError("a push that was never allowed");
      case frameTypes.GOAWAY:
        return length < 8 || length > mostControlOctets ? broken(reader) : "whole";
      case frameTypes.SETTINGS:
        return length > mostControlOctets ? protocolError("too many settings", errorCodes.ENHANCE_YOUR_CALM) : "whole";
      case frameTypes.PRIORITY:
        if (length === 5) return "whole";
        return life.faultOf(streamId, "a broken priority", errorCodes.FRAME_SIZE_ERROR) ?? "skip";
      case frameTypes.RST_STREAM:
      case frameTypes.WINDOW_UPDATE:
        return length === 4 ? "whole" : broken(reader);
      case frameTypes.PING:
        return length === 8 ? "whole" : broken(reader);
      case frameTypes.ALTSVC:
      case frameTypes.ORIGIN:
        return life.spend("announcements") ?? "skip";
      default:
        return life.spend("empty-frames") ?? "skip";
    }
  }

  whole(reader: FrameReader, payload: Uint8Array): H2Error | undefined {
    switch (reader.type) {
      case frameTypes.HEADERS:
        return this.#onBlock(this.#blocks.begin(reader, payload));
      case frameTypes.CONTINUATION:
        return this.#onBlock(this.#blocks.append(reader, payload));
      case frameTypes.SETTINGS:
        return this.#onSettings(reader, payload);
      case frameTypes.PING:
        return this.#onPing(reader, payload);
      case frameTypes.WINDOW_UPDATE:
        return this.#onWindowUpdate(reader.streamId, streamIdAt(payload, 0));
      case frameTypes.RST_STREAM:
        return this.#onReset(reader.streamId, numberAt(payload, 0));
      case frameTypes.GOAWAY:
        return this.#onGoaway(streamIdAt(payload, 0), numberAt(payload, 4));
      default:
        return this.#onPriority(reader.streamId, streamIdAt(payload, 0));
    }
  }

  data(_reader: FrameReader, piece: Uint8Array): void {
    const stream = this.#reading;
    // It may have been reset by its own listener a piece ago.
    if (stream === undefined || !stream.mayReceive) return;
    this.#dataOctets += piece.length;
    if (stream.contentLeft !== undefined) stream.contentLeft -= piece.length;
    this.#parts.credit.hold(piece.length);
    stream.listener.data(stream, piece);
  }

  dataEnded(reader: FrameReader): H2Error | undefined {
    const stream = this.#reading;
    this.#reading = undefined;
    if (stream === undefined || !stream.mayReceive) return undefined;
    const padding = reader.length - this.#dataOctets;
    if (padding > 0) this.#parts.credit.giveBack(stream, padding, false);
    const ends = (reader.flags & flags.END_STREAM) !== 0;
    const { contentLeft = 0 } = stream;
    if (contentLeft < 0 || (ends && contentLeft > 0)) return this.#parts.life.fault(stream, "content-length is wrong");
    if (!ends) return undefined;
    stream.listener.ended(stream);
    this.#parts.life.endRemotely(stream);
    return undefined;
  }

  #beginData({ streamId, length, flags: flag }: FrameReader): Disposition | H2Error {
    const { streams, credit, life } = this.#parts;
    this.#reading = undefined;
    this.#dataOctets = 0;
    if (!credit.takeFromConnection(length)) return protocolError("more than the window", errorCodes.FLOW_CONTROL_ERROR);
    const stream = streams.get(streamId);
    if (stream === undefined) return this.#dataNowhere(streamId);
    const { FLOW_CONTROL_ERROR, STREAM_CLOSED } = errorCodes;
    if (!stream.mayReceive) return life.fault(stream, "DATA after the end", STREAM_CLOSED) ?? "data";
    if (stream.awaits === "head") return life.fault(stream, "DATA before HEADERS") ?? "data";
    if (!credit.takeFromStream(stream, length)) {
      return life.fault(stream, "more than its window", FLOW_CONTROL_ERROR) ?? "data";
    }
    this.#reading = stream;
    const isEmpty = length === 0 && (flag & flags.END_STREAM) === 0;
    return (isEmpty ? life.spend("empty-frames") : undefined) ?? "data";
  }

  #dataNowhere(streamId: number): Disposition | H2Error {
    switch (this.#parts.streams.absent(streamId)) {
      case "idle":
        return protocolError("DATA on an idle stream");
      case "reset-by-us":
        return "data";
      case "closed":
        return this.#parts.life.faultOf(streamId, "DATA after the end", errorCodes.STREAM_CLOSED) ?? "data";
    }
  }

  #onBlock(block: HeaderBlock | H2Error | undefined): H2Error | undefined {
    if (block === undefined || block instanceof H2Error) return block;
    const decoded = this.#decoder.decode(block.block);
    if (decoded instanceof HpackError) return protocolError(decoded.message, errorCodes.COMPRESSION_ERROR);
    const { streamId, dependsOn } = block;
    const stream = this.#parts.streams.get(streamId);
    const absent = stream === undefined ? this.#parts.streams.absent(streamId) : undefined;
    if (absent === "reset-by-us") return undefined;
    if (absent === "closed") return protocolError("HEADERS on a closed stream", errorCodes.STREAM_CLOSED);
    if (stream === undefined && (!this.#isServer || streamId % 2 === 0)) {
      return protocolError("HEADERS on a stream that is not the peer's to open");
    }
    if (stream !== undefined && dependsOn !== streamId) return this.#onLaterHead(stream, block, decoded);
    if (stream === undefined) return this.#onRequest(block, decoded);
    return this.#onPriority(streamId, dependsOn ?? 0);
  }

  #onRequest({ streamId, endStream, dependsOn }: HeaderBlock, decoded: DecodedBlock): H2Error | undefined {
    const { streams, settings, life, owner } = this.#parts;
    streams.lastOfPeer = streamId;
    const { maxConcurrentStreams = Infinity } = settings;
    if (streamId > this.lastAccepted || streams.size >= maxConcurrentStreams) return life.refuse(streamId);
    if (dependsOn === streamId) return this.#onPriority(streamId, streamId);
    const head = decoded.tooLarge ? tooLarge : parseRequest(decoded.fields);
    const isConnect = head.kind === "request" && head.method === "CONNECT";
    const stream = life.begin(streamId, noListener, isConnect);
    stream.awaits = "content";
    const problem = head.kind === "malformed" ? head : this.#expectContent(stream, head.fields, endStream);
    if (problem !== undefined || head.kind === "malformed") return this.#refuse(stream, problem ?? tooLarge);
    if (endStream) stream.state = afterRemoteEnd(stream.state);
    owner.request(stream, head, endStream);
    return undefined;
  }

  #onLaterHead(stream: H2Stream, { endStream }: HeaderBlock, decoded: DecodedBlock): H2Error | undefined {
    const { life } = this.#parts;
    if (!stream.mayReceive) return life.fault(stream, "HEADERS after the end", errorCodes.STREAM_CLOSED);
    if (decoded.tooLarge) return life.fault(stream, tooLarge.detail, errorCodes.ENHANCE_YOUR_CALM);
    if (stream.awaits === "content") return this.#onTrailers(stream, decoded.fields, endStream);
    const head = parseAnswer(decoded.fields);
    if (head.kind === "malformed") return life.fault(stream, head.detail);
    if (head.status < 200) {
      return endStream ? life.fault(stream, "an end before the answer") : life.spend("interim-answers");
    }
    stream.awaits = "content";
    const problem = this.#expectContent(stream, head.fields, endStream);
    if (problem !== undefined) return life.fault(stream, problem.detail);
    if (endStream) stream.state = afterRemoteEnd(stream.state);
    stream.listener.answered(stream, head, endStream);
    if (endStream) life.closeIfOver(stream);
    return undefined;
  }

  #onTrailers(stream: H2Stream, fields: readonly HeaderField[], endStream: boolean): H2Error | undefined {
    const { life } = this.#parts;
    if (stream.isConnect) return life.fault(stream, "HEADERS in a tunnel");
    if (!endStream) return life.fault(stream, "HEADERS in the middle");
    const trailers = parseTrailers(fields);
    if (trailers.kind === "malformed") return life.fault(stream, trailers.detail);
    if ((stream.contentLeft ?? 0) !== 0) return life.fault(stream, "content-length is wrong");
    stream.listener.ended(stream);
    life.endRemotely(stream);
    return undefined;
  }

  #expectContent(stream: H2Stream, fields: readonly HeaderField[], endStream: boolean): MalformedHead | undefined {
    // What a tunnel carries is nobody's content (RFC 9110 9.3.6).
    if (stream.isConnect) return undefined;
    const length = contentLengthOf(fields);
    if (typeof length === "object") return length;
    stream.contentLeft = length;
    // An answer without content may still say how much there would be.
    const isShort = endStream && this.#isServer && length !== undefined && length > 0;
    return isShort ? { kind: "malformed", detail: "content-length is wrong" } : undefined;
  }

  /** Answered, so that whoever sent it can read that it was bad, and reset, as RFC 9113 8.1.1 wants it. */
  #refuse(stream: H2Stream, { detail }: MalformedHead): H2Error | undefined {
    stream.isAnswered = true;
    this.#parts.life.writeHead(stream, [{ name: ":status", value: "400" }], false);
    return this.#parts.life.fault(stream, detail);
  }

  #onSettings(reader: FrameReader, payload: Uint8Array): H2Error | undefined {
    const { owner, send, life } = this.#parts;
    if ((reader.flags & flags.ACK) !== 0) return payload.length === 0 ? this.#onSettingsAnswer() : broken(reader);
    const settings = parseSettings(payload, this.#isServer ? "client" : "server");
    if (settings instanceof H2Error) return settings;
    // Before they are applied: a window that grows lets streams send at once.
    owner.write(settingsAnswer());
    const failed = send.apply(settings) ?? life.spend("control-frames");
    if (failed !== undefined) return failed;
    if (this.phase === "settings") this.phase = "running";
    owner.settled();
    return undefined;
  }

  #onPing(reader: FrameReader, payload: Uint8Array): H2Error | undefined {
    const { owner, life } = this.#parts;
    if ((reader.flags & flags.ACK) === 0) {
      owner.write(pingFrame(payload, true));
      return life.spend("control-frames");
    }
    // Answers to nothing are worth as little as empty frames.
    if (this.pongsDue === 0) return life.spend("empty-frames");
    this.pongsDue -= 1;
    owner.pong(payload);
    return undefined;
  }

  #onSettingsAnswer(): H2Error | undefined {
    const apply = this.settingsDue.shift();
    if (apply === undefined) return this.#parts.life.spend("empty-frames");
    apply();
    return undefined;
  }

  #onWindowUpdate(streamId: number, increment: number): H2Error | undefined {
    const { streams, send, life } = this.#parts;
    const failed = life.spend("window-updates");
    if (failed !== undefined) return failed;
    if (streamId === 0)
      return increment === 0 ? protocolError("a window grows by nothing") : send.windowUpdate(increment);
    const stream = streams.get(streamId);
    if (stream === undefined) {
      return streams.absent(streamId) === "idle" ? protocolError("WINDOW_UPDATE on an idle stream") : undefined;
    }
    if (increment === 0) return life.fault(stream, "a window grows by nothing");
    if (send.streamWindowUpdate(stream, increment)) return undefined;
    return life.fault(stream, "a window too large", errorCodes.FLOW_CONTROL_ERROR);
  }

  #onReset(streamId: number, errorCode: number): H2Error | undefined {
    const { streams, life } = this.#parts;
    const stream = streams.get(streamId);
    if (stream === undefined) return this.#onLateReset(streamId);
    const isAbandoned = this.#isServer && !stream.isAnswered;
    life.cut(stream, { by: "peer", errorCode });
    return isAbandoned ? life.spend("abandoned-streams") : undefined;
  }

  #onLateReset(streamId: number): H2Error | undefined {
    const { streams, life } = this.#parts;
    switch (streams.absent(streamId)) {
      case "idle":
        return protocolError("RST_STREAM on an idle stream");
      case "reset-by-us":
        // It has crossed ours, as it will wherever both ends are done with a stream at once: once for each of ours.
        return void streams.forgetReset(streamId);
      case "closed":
        return life.spend("empty-frames");
    }
  }

  #onGoaway(lastStreamId: number, errorCode: number): H2Error | undefined {
    const { owner, streams, life } = this.#parts;
    const failed = life.spend("goaways");
    if (failed !== undefined) return failed;
    if (!this.#isServer) streams.limitOurs(lastStreamId);
    owner.leaving(lastStreamId, errorCode);
    if (this.#isServer) return undefined;
    for (const stream of streams.above(lastStreamId)) life.cut(stream, { by: "goaway" });
    return undefined;
  }

  /** Priorities mean nothing any more (RFC 9113 5.3); one that depends on itself is still wrong. */
  #onPriority(streamId: number, dependsOn: number): H2Error | undefined {
    const { life } = this.#parts;
    if (dependsOn !== streamId) return life.spend("empty-frames");
    return life.faultOf(streamId, "it depends on itself", errorCodes.PROTOCOL_ERROR);
  }
}

function broken({ type }: FrameReader): H2Error {
  return protocolError(`a frame of type ${type} and a wrong length`, errorCodes.FRAME_SIZE_ERROR);
}

function numberAt(payload: Uint8Array, at: number): number {
  return ((payload[at]! << 24) | (payload[at + 1]! << 16) | (payload[at + 2]! << 8) | payload[at + 3]!) >>> 0;
}

const tooLarge: MalformedHead = { kind: "malformed", detail: "headers too large" };

/** Whether a frame of that type belongs to a stream (true) or to the connection (false). */
const scopes: Readonly<Record<number, boolean>> = {
  [frameTypes.DATA]: true,
  [frameTypes.HEADERS]: true,
  [frameTypes.PRIORITY]: true,
  [frameTypes.RST_STREAM]: true,
  [frameTypes.SETTINGS]: false,
  [frameTypes.PUSH_PROMISE]: true,
  [frameTypes.PING]: false,
  [frameTypes.GOAWAY]: false,
  [frameTypes.CONTINUATION]: true,
};

/** A GOAWAY with a long explanation, or a hundred and seventy settings. */
const mostControlOctets = 1_024;
