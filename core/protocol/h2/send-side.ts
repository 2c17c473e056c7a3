/**
 * What we send: DATA within the windows that the peer grants (RFC 9113 5.2) and as the transport takes it. Streams that have to wait
 * are served in turn, so that none of them holds up the others.
 */
import type { AbuseBudget } from "./abuse-budget.ts";
import { errorCodes } from "./error-code.ts";
import { flags, frameTypes, largest31 } from "./frame.ts";
import { dataFrame, frameHeader } from "./frame-writer.ts";
import { protocolError, type H2Error } from "./h2-error.ts";
import { HpackEncoder } from "./hpack/encoder.ts";
import { defaultWindow, initialPeerSettings, settingIds, type PeerSettings, type Setting } from "./settings.ts";
import type { H2Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

export interface Transport {
  /** Octets in order; the buffer is the transport's from now on, and must not change until it is sent. Must not call back. */
  write(bytes: Uint8Array): void;
  /** Octets of DATA that it would take now. */
  room(): number;
}

export class SendSide {
  readonly peer: PeerSettings = initialPeerSettings();
  readonly encoder = new HpackEncoder();
  readonly #transport: Transport;
  readonly #streams: StreamTable;
  readonly #budget: AbuseBudget;
  /** Of the connection. */
  #window = defaultWindow;
  /** Streams that wait for the connection's window or for the transport, in turn. */
  readonly #waiting = new Set<H2Stream>();

  constructor(transport: Transport, streams: StreamTable, budget: AbuseBudget) {
    this.#transport = transport;
    this.#streams = streams;
    this.#budget = budget;
  }

  /** @returns where the octets begin that were not taken; if there are some, the stream's `writable` is called later. */
  data(stream: H2Stream, chunk: Uint8Array, from: number): number {
    const frameSize = Math.min(this.peer.maxFrameSize, mostInFrame);
    let at = from;
    let frames = 0;
    while (at < chunk.length) {
      const room = Math.min(stream.sendWindow, this.#window, this.#transport.room());
      if (room <= 0) {
        this.#block(stream);
        break;
      }
      const size = Math.min(chunk.length - at, room, frameSize);
      if (size <= mostCopied) this.#transport.write(dataFrame(stream.id, chunk, at, size));
      else {
        this.#transport.write(frameHeader(frameTypes.DATA, 0, stream.id, size));
        this.#transport.write(size === chunk.length ? chunk : chunk.subarray(at, at + size));
      }
      stream.sendWindow -= size;
      this.#window -= size;
      at += size;
      frames += 1;
    }
    // The peer may give back each frame for stream and connection, and in smaller pieces than it came.
    if (frames > 0) this.#budget.earn("window-updates", 10 * frames + (at - from) / 1_024);
    return at;
  }

  end(stream: H2Stream): void {
    this.#transport.write(frameHeader(frameTypes.DATA, flags.END_STREAM, stream.id, 0));
  }

  /** Nothing of the stream is to be sent any more. */
  forget(stream: H2Stream): void {
    this.#waiting.delete(stream);
    stream.isBlocked = false;
  }

  /** The transport has room again. */
  resume(): void {
    this.#serve();
  }

  windowUpdate(increment: number): H2Error | undefined {
    this.#window += increment;
    if (this.#window > largest31) return protocolError("a window too large", errorCodes.FLOW_CONTROL_ERROR);
    this.#serve();
    return undefined;
  }

  /** @returns false if that is more than a window can be. */
  streamWindowUpdate(stream: H2Stream, increment: number): boolean {
    if (stream.sendWindow + increment > largest31) return false;
    this.#widen(stream, increment);
    this.#serve();
    return true;
  }

  /** Nobody is served before all of them are in force: the same frame may allow more octets and ask for smaller frames. */
  apply(settings: readonly Setting[]): H2Error | undefined {
    for (const [id, value] of settings) {
      switch (id) {
        case settingIds.HEADER_TABLE_SIZE:
          this.encoder.limitTable(value);
          break;
        case settingIds.MAX_CONCURRENT_STREAMS:
          this.peer.maxConcurrentStreams = value;
          break;
        case settingIds.INITIAL_WINDOW_SIZE: {
          const change = value - this.peer.initialWindowSize;
          this.peer.initialWindowSize = value;
          for (const stream of this.#streams) {
            if (stream.sendWindow + change > largest31) {
              return protocolError("a window too large", errorCodes.FLOW_CONTROL_ERROR);
            }
            this.#widen(stream, change);
          }
          break;
        }
        case settingIds.MAX_FRAME_SIZE:
          this.peer.maxFrameSize = value;
          break;
      }
    }
    this.#serve();
    return undefined;
  }

  #widen(stream: H2Stream, by: number): void {
    const before = stream.sendWindow;
    stream.sendWindow += by;
    // It waited for its own window; now it may have to wait for its turn.
    if (before <= 0 && stream.sendWindow > 0 && stream.isBlocked) this.#waiting.add(stream);
  }

  #block(stream: H2Stream): void {
    stream.isBlocked = true;
    if (stream.sendWindow > 0) this.#waiting.add(stream);
  }

  /** Each stream that waits, once: one that takes all there is must not be asked again before the others. */
  #serve(): void {
    for (let turns = this.#waiting.size; turns > 0; turns--) {
      if (this.#window <= 0 || this.#transport.room() <= 0) return;
      const [stream] = this.#waiting;
      if (stream === undefined) return;
      this.forget(stream);
      stream.listener.writable(stream);
    }
  }
}

/** Of a chunk: a buffer of its own for the header, and a write of its own, cost more than so much of a copy. */
const mostCopied = 512;
/** With its header it fills four TLS records of 16 KiB: one octet more would leave a record and a write of its own behind. */
const mostInFrame = 65_527;
