/** What RFC 9113 lets one end of a connection write, given what it has received: counted plainly, frame by frame. */
import assert from "node:assert/strict";
import { HpackDecoder } from "../../core/protocol/h2/hpack/decoder.ts";
import { HpackError } from "../../core/protocol/h2/hpack/hpack-error.ts";

export interface WireFrame {
  /** Of the payload when it is complete. */
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** What an end has written in a stream, and may still write. */
interface Written {
  window: number;
  hasHead: boolean;
  isOver: boolean;
  /** Octets that it lets the other end send. */
  granted: number;
}

/**
 * Judges an end: `received` for every octet before the end is given it, `wrote` for every octet that it wrote. Whether what it received
 * is legal is not judged: where it is not, this allows more rather than less.
 */
export class WireLaw {
  readonly #isServer: boolean;
  readonly #window: number;
  readonly #connectionWindow: number;
  readonly #in = new FrameSplitter(({ type, stream, length }) => {
    if (type !== 0) return;
    this.#receiveWindow -= length;
    this.#stream(stream).granted -= length;
  });
  readonly #out = new FrameSplitter();
  readonly #streams = new Map<number, Written>();
  readonly #content = new Map<number, readonly Buffer[]>();
  readonly #decoder = new HpackDecoder({ tableSize: 4096, listSize: Infinity });
  /** Settings that were received and not acknowledged. */
  readonly #settings: (readonly (readonly [id: number, value: number])[])[] = [];
  readonly #pings: string[] = [];
  #prefaceIn: number;
  #prefaceOut: number;
  #sendWindow = 65_535;
  #initialWindow = 65_535;
  #mostFrame = 16_384;
  #receiveWindow = 65_535;
  /** The highest stream of the other end that any frame named with HEADERS. */
  #lastOfPeer = 0;
  #frames = 0;
  #block: { readonly stream: number; readonly parts: Buffer[]; readonly ends: boolean } | undefined;
  #lastGoaway = Infinity;
  #isOver = false;

  /** @param connectionWindow octets that the end lets the other have under way; `window` the same in each stream. */
  constructor(role: "client" | "server", window: number, connectionWindow: number) {
    this.#isServer = role === "server";
    this.#window = window;
    this.#connectionWindow = Math.max(connectionWindow, 65_535);
    this.#prefaceIn = this.#isServer ? 24 : 0;
    this.#prefaceOut = this.#isServer ? 0 : 24;
  }

  received(bytes: Uint8Array): void {
    const rest = bytes.subarray(this.#prefaceIn);
    this.#prefaceIn = Math.max(0, this.#prefaceIn - bytes.length);
    for (const frame of this.#in.take(rest)) this.#receivedFrame(frame);
  }

  wrote(bytes: Uint8Array): void {
    const rest = bytes.subarray(this.#prefaceOut);
    this.#prefaceOut = Math.max(0, this.#prefaceOut - bytes.length);
    for (const frame of this.#out.take(rest)) this.#wroteFrame(frame);
  }

  /** All data that came in a stream, without padding; also of a frame that is not complete. */
  contentReceived(stream: number): Buffer {
    const { partial } = this.#in;
    const isMore = partial?.type === 0 && partial.stream === stream;
    return Buffer.concat([...(this.#content.get(stream) ?? []), ...(isMore ? [dataOf(partial)] : [])]);
  }

  #receivedFrame(frame: WireFrame): void {
    const { type, flags, stream, payload } = frame;
    if (type === 0) this.#content.set(stream, [...(this.#content.get(stream) ?? []), dataOf(frame)]);
    if (type === 1 && stream % 2 === 1) this.#lastOfPeer = Math.max(this.#lastOfPeer, stream);
    if (type === 4 && (flags & 1) === 0) this.#settings.push(settingsOf(payload));
    if (type === 6 && (flags & 1) === 0) this.#pings.push(payload.toString("hex"));
    if (type !== 8 || payload.length !== 4) return;
    const increment = payload.readUInt32BE(0) & 0x7fff_ffff;
    if (stream === 0) this.#sendWindow += increment;
    else this.#stream(stream).window += increment;
  }

  #wroteFrame(frame: WireFrame): void {
    const { type, flags, stream, payload } = frame;
    assert.ok(!this.#isOver, `a frame of type ${type} behind the last GOAWAY`);
    if (this.#frames++ === 0) assert.deepEqual([type, flags], [4, 0], "SETTINGS come first");
    assert.ok(payload.length <= this.#mostFrame, `a frame of ${payload.length} octets`);
    const { stream: unfinished } = this.#block ?? { stream: 0 };
    assert.equal(type === 9 ? stream : 0, unfinished, "a header block is interrupted, or none was begun");
    switch (type) {
      case 0:
        return this.#wroteData(frame);
      case 1:
        this.#block = { stream, parts: [payload], ends: (flags & 1) !== 0 };
        return this.#wroteBlock(flags);
      case 9:
        this.#block?.parts.push(payload);
        return this.#wroteBlock(flags);
      case 3:
        assert.ok(!this.#isIdle(stream), "RST_STREAM on an idle stream");
        this.#stream(stream).isOver = true;
        return;
      case 4:
        return (flags & 1) === 0 ? undefined : this.#acknowledged();
      case 6:
        if ((flags & 1) !== 0) assert.equal(this.#pings.shift(), payload.toString("hex"), "an answer to another PING");
        return;
      case 7:
        return this.#wroteGoaway(payload);
      case 8:
        return this.#wroteWindowUpdate(stream, payload.readUInt32BE(0));
      default:
        assert.fail(`a frame of type ${type}`);
    }
  }

  #wroteData({ flags, stream, payload }: WireFrame): void {
    const written = this.#stream(stream);
    assert.ok(written.hasHead && !written.isOver, "DATA before HEADERS or behind the end");
    this.#sendWindow -= payload.length;
    written.window -= payload.length;
    if (payload.length > 0) assert.ok(this.#sendWindow >= 0 && written.window >= 0, "DATA without a window for it");
    if ((flags & 1) !== 0) written.isOver = true;
  }

  #wroteBlock(flags: number): void {
    const block = this.#block;
    if (block === undefined || (flags & 4) === 0) return;
    this.#block = undefined;
    const written = this.#stream(block.stream);
    assert.ok(!written.isOver, "HEADERS behind the end");
    assert.equal(block.stream % 2, 1);
    if (this.#isServer) assert.ok(!this.#isIdle(block.stream), "an answer to nothing");
    const decoded = this.#decoder.decode(Buffer.concat(block.parts));
    if (decoded instanceof HpackError) throw decoded;
    written.hasHead = true;
    if (block.ends) written.isOver = true;
  }

  #acknowledged(): void {
    const settings = this.#settings.shift();
    assert.ok(settings, "SETTINGS acknowledged that never came");
    for (const [id, value] of settings) {
      if (id === 1) this.#decoder.limitTable(Math.min(value, 4096));
      if (id === 5) this.#mostFrame = value;
      if (id !== 4) continue;
      for (const written of this.#streams.values()) written.window += value - this.#initialWindow;
      this.#initialWindow = value;
    }
  }

  #wroteGoaway(payload: Buffer): void {
    const last = payload.readUInt32BE(0) & 0x7fff_ffff;
    assert.ok(last <= this.#lastGoaway, "a GOAWAY that takes back another");
    this.#lastGoaway = last;
    this.#isOver = payload.readUInt32BE(4) !== 0;
  }

  #wroteWindowUpdate(stream: number, increment: number): void {
    assert.ok(increment > 0 && increment < 2 ** 31);
    if (stream === 0) {
      this.#receiveWindow += increment;
      assert.ok(this.#receiveWindow <= this.#connectionWindow, "a connection's window wider than it was to be");
      return;
    }
    assert.ok(!this.#isIdle(stream), "WINDOW_UPDATE on an idle stream");
    const written = this.#stream(stream);
    written.granted += increment;
    assert.ok(written.granted <= this.#window, "a stream's window wider than it was to be");
  }

  #isIdle(stream: number): boolean {
    return this.#isServer ? stream > this.#lastOfPeer : !this.#stream(stream).hasHead;
  }

  #stream(id: number): Written {
    let written = this.#streams.get(id);
    if (written === undefined) {
      written = { window: this.#initialWindow, hasHead: false, isOver: false, granted: this.#window };
      this.#streams.set(id, written);
    }
    return written;
  }
}

/** Octets to frames, in any pieces. */
export class FrameSplitter {
  readonly #begun: (frame: WireFrame) => void;
  #rest = Buffer.alloc(0);
  /** Whether the frame that is not complete has been told of. */
  #isBegun = false;

  /** @param begun is told of each frame as soon as its header is there. */
  constructor(begun: (frame: WireFrame) => void = () => undefined) {
    this.#begun = begun;
  }

  *take(bytes: Uint8Array): Generator<WireFrame> {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (let frame = this.partial; frame !== undefined; frame = this.partial) {
      if (!this.#isBegun) this.#begun(frame);
      this.#isBegun = frame.payload.length < frame.length;
      if (this.#isBegun) return;
      this.#rest = this.#rest.subarray(9 + frame.length);
      yield frame;
    }
  }

  /** The frame whose header is there, and as much of its payload as came. */
  get partial(): WireFrame | undefined {
    if (this.#rest.length < 9) return undefined;
    const length = this.#rest.readUIntBE(0, 3);
    const [type = 0, flags = 0] = this.#rest.subarray(3, 5);
    const stream = this.#rest.readUInt32BE(5) & 0x7fff_ffff;
    return { length, type, flags, stream, payload: this.#rest.subarray(9, 9 + length) };
  }
}

/** A DATA frame's payload without its padding. */
function dataOf({ flags, length, payload }: WireFrame): Buffer {
  if ((flags & 8) === 0) return payload;
  return payload.subarray(1, Math.max(1, length - (payload[0] ?? 0)));
}

/** The settings in a SETTINGS frame. */
export function settingsOf(payload: Buffer): (readonly [id: number, value: number])[] {
  const count = Math.floor(payload.length / 6);
  return Array.from(
    { length: count },
    (_, i) => [payload.readUInt16BE(i * 6), payload.readUInt32BE(i * 6 + 2)] as const,
  );
}
