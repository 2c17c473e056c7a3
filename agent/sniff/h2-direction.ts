/** One direction of an HTTP/2 connection as somebody beside it sees it: header blocks, and where streams end. Content is passed by. */
import { flags, frameTypes } from "../../core/protocol/h2/frame.ts";
import { FrameReader, type Disposition, type FrameSink } from "../../core/protocol/h2/frame-reader.ts";
import { protocolError, type H2Error } from "../../core/protocol/h2/h2-error.ts";
import { HeaderBlocks, type HeaderBlock } from "../../core/protocol/h2/header-block.ts";
import { HpackDecoder } from "../../core/protocol/h2/hpack/decoder.ts";
import type { HeaderField } from "../../core/protocol/h2/hpack/field.ts";
import { HpackError } from "../../core/protocol/h2/hpack/hpack-error.ts";

export interface DirectionSink {
  /** A whole header block. @returns false where that is too much. */
  fields(streamId: number, fields: readonly HeaderField[], endStream: boolean): boolean;
  /** The last octet of a stream's content, where the content ends it. */
  contentEnded(streamId: number): void;
  reset(streamId: number): void;
}

export class H2Direction implements FrameSink {
  readonly #sink: DirectionSink;
  readonly #endsMatter: boolean;
  readonly #reader = new FrameReader(this);
  readonly #blocks = new HeaderBlocks();
  readonly #decoder = new HpackDecoder({ tableSize: tableOctets, listSize: mostListOctets }, isWanted);
  #begun = false;
  /** Octets of a frame that isn't whole, and of a block that isn't. */
  #frameOctets = 0;
  #blockOctets = 0;

  /** @param endsMatter whether it is of interest when content ends. */
  constructor(sink: DirectionSink, endsMatter: boolean) {
    this.#sink = sink;
    this.#endsMatter = endsMatter;
  }

  /** @returns false where it is not understood. */
  read(bytes: Uint8Array): boolean {
    return this.#reader.read(bytes) === undefined;
  }

  /** Octets that are kept, about. */
  get held(): number {
    const { size, length } = this.#decoder.table;
    return this.#frameOctets + this.#blockOctets + size + length * entryOctets;
  }

  /** @internal FrameSink. */
  frame({ type, flags: set, streamId, length }: FrameReader): Disposition | H2Error {
    // RFC 9113 3.4: SETTINGS come first. Hardly anything else begins like them.
    if (!this.#begun && (type !== frameTypes.SETTINGS || streamId !== 0 || (set & flags.ACK) !== 0)) return unreadable;
    this.#begun = true;
    const { unfinished } = this.#blocks;
    if (unfinished !== 0 && (type !== frameTypes.CONTINUATION || streamId !== unfinished)) return unreadable;
    switch (type) {
      case frameTypes.HEADERS:
      case frameTypes.CONTINUATION:
        if (length > mostListOctets || streamId === 0) return unreadable;
        if (type === frameTypes.CONTINUATION && unfinished === 0) return unreadable;
        this.#frameOctets = length;
        return "whole";
      case frameTypes.DATA:
        return this.#endsMatter && (set & flags.END_STREAM) !== 0 ? "data" : "skip";
      case frameTypes.RST_STREAM:
        this.#sink.reset(streamId);
        return "skip";
      // It holds a block of its own, and nobody asks for it any more.
      case frameTypes.PUSH_PROMISE:
        return unreadable;
      default:
        return length > mostOtherOctets ? unreadable : "skip";
    }
  }

  /** @internal FrameSink. */
  whole(reader: FrameReader, payload: Uint8Array): H2Error | undefined {
    this.#frameOctets = 0;
    const isFirst = reader.type === frameTypes.HEADERS;
    const block = isFirst ? this.#blocks.begin(reader, payload) : this.#blocks.append(reader, payload);
    if (block === undefined) {
      this.#blockOctets += payload.length;
      return this.#blockOctets > mostListOctets ? unreadable : undefined;
    }
    this.#blockOctets = 0;
    return "block" in block ? this.#decode(block) : block;
  }

  /** @internal FrameSink. */
  data(): void {}

  /** @internal FrameSink. */
  dataEnded({ streamId }: FrameReader): undefined {
    this.#sink.contentEnded(streamId);
  }

  #decode({ streamId, endStream, block }: HeaderBlock): H2Error | undefined {
    const decoded = this.#decoder.decode(block);
    if (decoded instanceof HpackError || decoded.tooLarge) return unreadable;
    return this.#sink.fields(streamId, decoded.fields, endStream) ? undefined : unreadable;
  }
}

/** What the outcome of a request is read from. */
function isWanted(name: string): boolean {
  return name === ":status" || name === "grpc-status" || name === "content-type";
}

const unreadable = protocolError("not understood in passing");
/** Also where more was allowed: hardly anybody takes it, and it would have to be kept. */
const tableOctets = 4_096;
const mostListOctets = 65_536;
/** Of frames that are neither content nor fields; the largest of these is SETTINGS. */
const mostOtherOctets = 16_384;
/** What an entry of HPACK's table takes beside what RFC 7541 has it count for. */
const entryOctets = 52;
