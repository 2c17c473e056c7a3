/** HEADERS and its CONTINUATIONs as one block (RFC 9113 4.3): gathered within limits, and with nothing in between. */
import { errorCodes } from "./error-code.ts";
import { flags } from "./frame.ts";
import { protocolError, type H2Error } from "./h2-error.ts";
import type { FrameReader } from "./frame-reader.ts";

/** A complete field block as it stood on the wire. */
export interface HeaderBlock {
  readonly streamId: number;
  readonly endStream: boolean;
  readonly block: Uint8Array;
  /** The stream that its priority depends on, where it says (RFC 7540 5.3.1). */
  readonly dependsOn: number | undefined;
}

/** Octets of a block on the wire, a little more than a list may have decoded; CVE-2024-27316 is a block without end. */
export const mostBlockOctets = 81_920;
const mostContinuations = 8;

export class HeaderBlocks {
  #streamId = 0;
  #endStream = false;
  #dependsOn: number | undefined;
  #parts: Uint8Array[] | undefined;
  #octets = 0;

  /** The stream whose block is not over: only its CONTINUATION may come next. 0: none. */
  get unfinished(): number {
    return this.#parts === undefined ? 0 : this.#streamId;
  }

  /** A HEADERS frame; undefined while more of its block is to come. */
  begin(reader: FrameReader, payload: Uint8Array): HeaderBlock | H2Error | undefined {
    let from = 0;
    let padding = 0;
    if ((reader.flags & flags.PADDED) !== 0) {
      if (payload.length === 0) return protocolError("padding without its length", errorCodes.FRAME_SIZE_ERROR);
      padding = payload[0]!;
      from = 1;
    }
    this.#dependsOn = undefined;
    if ((reader.flags & flags.PRIORITY) !== 0) {
      if (payload.length < from + 5) return protocolError("a broken priority", errorCodes.FRAME_SIZE_ERROR);
      this.#dependsOn = streamIdAt(payload, from);
      from += 5;
    }
    if (from + padding > payload.length) return protocolError("more padding than frame");
    const block = payload.subarray(from, payload.length - padding);
    this.#streamId = reader.streamId;
    this.#endStream = (reader.flags & flags.END_STREAM) !== 0;
    if ((reader.flags & flags.END_HEADERS) !== 0) return this.#finish(block);
    // Kept beyond this call: the payload is a view of what was read. (A Buffer's own `slice` would be another.)
    this.#parts = [new Uint8Array(block)];
    this.#octets = block.length;
    return undefined;
  }

  /** A CONTINUATION of the block that is not over. */
  append(reader: FrameReader, payload: Uint8Array): HeaderBlock | H2Error | undefined {
    const parts = this.#parts ?? [];
    this.#octets += payload.length;
    if (parts.length > mostContinuations || this.#octets > mostBlockOctets) {
      return protocolError("a header block without end", errorCodes.ENHANCE_YOUR_CALM);
    }
    if ((reader.flags & flags.END_HEADERS) === 0) {
      parts.push(new Uint8Array(payload));
      return undefined;
    }
    this.#parts = undefined;
    return this.#finish(Buffer.concat([...parts, payload]));
  }

  #finish(block: Uint8Array): HeaderBlock {
    return { streamId: this.#streamId, endStream: this.#endStream, block, dependsOn: this.#dependsOn };
  }
}

/** Without its exclusive bit. */
export function streamIdAt(payload: Uint8Array, at: number): number {
  return ((payload[at]! & 0x7f) << 24) | (payload[at + 1]! << 16) | (payload[at + 2]! << 8) | payload[at + 3]!;
}
