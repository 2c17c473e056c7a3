/**
 * Octets in, frames out, wherever the octets were cut. A small frame is gathered and handed over whole; DATA goes through in pieces
 * as it comes, and is never copied or kept; what nobody wants is skipped without being kept either.
 */
import { protocolError, type H2Error } from "./h2-error.ts";
import { errorCodes } from "./error-code.ts";
import { flags, frameHeaderSize, frameTypes } from "./frame.ts";

/** How the payload of a frame is wanted, once its header is there. */
export type Disposition = "whole" | "data" | "skip";

export interface FrameSink {
  /** A frame begins: `type`, `flags`, `streamId` and `length` of the reader are its own until the next one. */
  frame(reader: FrameReader): Disposition | H2Error;
  /** All of the payload. Valid during the call. */
  whole(reader: FrameReader, payload: Uint8Array): H2Error | undefined;
  /** Some of a DATA frame's data: a view of what was read. */
  data(reader: FrameReader, piece: Uint8Array): void;
  /** The DATA frame is over, padding and all. */
  dataEnded(reader: FrameReader): H2Error | undefined;
}

export class FrameReader {
  type = 0;
  flags = 0;
  streamId = 0;
  /** Octets of the whole payload, padding among them. */
  length = 0;
  readonly #sink: FrameSink;
  readonly #header = new Uint8Array(frameHeaderSize);
  #state: "header" | "whole" | "pad-length" | "data" | "padding" | "skip" = "header";
  /** Octets that the state still waits for. */
  #wanted = frameHeaderSize;
  #padding = 0;
  /** A payload that came in pieces. */
  #gathered: Uint8Array | undefined;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Takes everything; after an error nothing more may be read. */
  read(chunk: Uint8Array): H2Error | undefined {
    let at = 0;
    while (at < chunk.length) {
      const taken = Math.min(this.#wanted, chunk.length - at);
      const failed = this.#take(chunk, at, taken);
      if (failed !== undefined) return failed;
      at += taken;
    }
    return undefined;
  }

  /** In the middle of a frame. */
  get isWaiting(): boolean {
    return this.#state !== "header" || this.#wanted !== frameHeaderSize;
  }

  #take(chunk: Uint8Array, at: number, taken: number): H2Error | undefined {
    this.#wanted -= taken;
    switch (this.#state) {
      case "header":
        return this.#takeHeader(chunk, at, taken);
      case "whole":
        return this.#takeWhole(chunk, at, taken);
      case "pad-length": {
        this.#padding = chunk[at] ?? 0;
        const left = this.length - 1 - this.#padding;
        if (left < 0) return protocolError("more padding than frame");
        return this.#expectData(left);
      }
      case "data":
        this.#sink.data(this, chunk.subarray(at, at + taken));
        return this.#wanted === 0 ? this.#expectPadding() : undefined;
      case "padding":
        return this.#wanted === 0 ? this.#endData() : undefined;
      case "skip":
        if (this.#wanted === 0) this.#expectHeader();
        return undefined;
    }
  }

  #takeHeader(chunk: Uint8Array, at: number, taken: number): H2Error | undefined {
    if (taken === frameHeaderSize) return this.#begin(chunk, at);
    const have = frameHeaderSize - this.#wanted - taken;
    this.#header.set(chunk.subarray(at, at + taken), have);
    return this.#wanted === 0 ? this.#begin(this.#header, 0) : undefined;
  }

  #begin(bytes: Uint8Array, at: number): H2Error | undefined {
    this.length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    this.type = bytes[at + 3]!;
    this.flags = bytes[at + 4]!;
    this.streamId = ((bytes[at + 5]! & 0x7f) << 24) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 8) | bytes[at + 8]!;
    const disposition = this.#sink.frame(this);
    switch (disposition) {
      case "whole":
        if (this.length === 0) return this.#complete(nothing);
        this.#expect("whole", this.length);
        return undefined;
      case "data":
        if ((this.flags & flags.PADDED) === 0 || this.type !== frameTypes.DATA) {
          this.#padding = 0;
          return this.#expectData(this.length);
        }
        if (this.length === 0) return protocolError("padding without its length", errorCodes.FRAME_SIZE_ERROR);
        this.#expect("pad-length", 1);
        return undefined;
      case "skip":
        if (this.length === 0) this.#expectHeader();
        else this.#expect("skip", this.length);
        return undefined;
      default:
        return disposition;
    }
  }

  #takeWhole(chunk: Uint8Array, at: number, taken: number): H2Error | undefined {
    if (taken === this.length) return this.#complete(chunk.subarray(at, at + taken));
    this.#gathered ??= new Uint8Array(this.length);
    this.#gathered.set(chunk.subarray(at, at + taken), this.length - this.#wanted - taken);
    return this.#wanted === 0 ? this.#complete(this.#gathered) : undefined;
  }

  #complete(payload: Uint8Array): H2Error | undefined {
    this.#gathered = undefined;
    this.#expectHeader();
    return this.#sink.whole(this, payload);
  }

  #expectData(octets: number): H2Error | undefined {
    if (octets === 0) return this.#expectPadding();
    this.#expect("data", octets);
    return undefined;
  }

  #expectPadding(): H2Error | undefined {
    if (this.#padding === 0) return this.#endData();
    this.#expect("padding", this.#padding);
    return undefined;
  }

  #endData(): H2Error | undefined {
    this.#expectHeader();
    return this.#sink.dataEnded(this);
  }

  #expectHeader(): void {
    this.#expect("header", frameHeaderSize);
  }

  #expect(state: "header" | "whole" | "pad-length" | "data" | "padding" | "skip", octets: number): void {
    this.#state = state;
    this.#wanted = octets;
  }
}

const nothing = new Uint8Array(0);
