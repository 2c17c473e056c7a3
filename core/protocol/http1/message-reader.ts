/**
 * One direction of an HTTP/1 connection as somebody beside it sees it: where its messages begin and end (RFC 9112). Bodies are counted
 * and never looked at; of a line that comes in pieces a copy is kept until it is whole.
 */
import type { BodyFraming } from "./framing.ts";
import {
  mayBeginRequest,
  mayBeginResponse,
  parseChunkSize,
  parseRequestLine,
  parseStatusLine,
  readField,
  type BodyFields,
  type RequestLine,
  type StatusLine,
} from "./head.ts";

export interface MessageSink {
  /** The first octet of a message is there. Called again where it was an empty line before a request (RFC 9112 2.2). */
  began(): void;
  /** The head is over. @returns how its body is framed, or undefined where nothing behind it is to be read. */
  head(line: RequestLine | StatusLine, fields: BodyFields): BodyFraming | undefined;
  /** The message is over. */
  ended(): void;
}

/** Order of calls: `read` until it says false; then never again. */
export class MessageReader {
  readonly #kind: "request" | "response";
  readonly #sink: MessageSink;
  /** What the next line is. */
  #expects: "start" | "field" | "chunk-size" | "chunk-end" | "trailer" = "start";
  /** Octets of a body, or of a chunk, that are still to pass. */
  #left = 0;
  #start: RequestLine | StatusLine | undefined;
  #fields: BodyFields = { contentLength: undefined, coding: "none" };
  /** A line that isn't whole. */
  #line: Uint8Array | undefined;
  #lineLength = 0;
  /** Octets of the head, of a chunk's line or of the trailers so far. */
  #looked = 0;

  constructor(kind: "request" | "response", sink: MessageSink) {
    this.#kind = kind;
    this.#sink = sink;
  }

  /** Takes everything, and keeps nothing of it but an unfinished line. @returns false where this is not, or not any more, understood. */
  read(bytes: Uint8Array): boolean {
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) {
        const passed = Math.min(this.#left, bytes.length - at);
        at += passed;
        this.#left -= passed;
        if (this.#left === 0 && this.#expects === "start") this.#end();
        continue;
      }
      if (this.#expects === "start" && this.#lineLength === 0) this.#sink.began();
      const to = behindLine(bytes, at, Math.min(bytes.length, at + mostHeadOctets - this.#looked));
      this.#looked += to - at;
      if (bytes[to - 1] !== lineFeed) return this.#looked < mostHeadOctets && this.#keep(bytes, at, to);
      if (!this.#takeLine(bytes, at, to)) return false;
      at = to;
    }
    return true;
  }

  /** The peer sends no more: a body without a length ends here. */
  finish(): void {
    if (this.#left === Infinity) this.#end();
  }

  /** Octets that are kept. */
  get held(): number {
    return this.#line?.length ?? 0;
  }

  #keep(bytes: Uint8Array, from: number, to: number): boolean {
    const length = this.#lineLength + to - from;
    if (this.#line === undefined || length > this.#line.length) {
      const larger = new Uint8Array(Math.min(mostHeadOctets, Math.max(fewestKept, length * 2)));
      if (this.#line !== undefined) larger.set(this.#line.subarray(0, this.#lineLength));
      this.#line = larger;
    }
    this.#line.set(bytes.subarray(from, to), this.#lineLength);
    this.#lineLength = length;
    return this.#expects !== "start" || this.#mayBegin(this.#line, length);
  }

  /** @param to behind its line feed. */
  #takeLine(bytes: Uint8Array, from: number, to: number): boolean {
    if (this.#lineLength === 0) return this.#understand(bytes, from, to);
    if (!this.#keep(bytes, from, to) || this.#line === undefined) return false;
    const [line, length] = [this.#line, this.#lineLength];
    this.#line = undefined;
    this.#lineLength = 0;
    return this.#understand(line, 0, length);
  }

  #understand(bytes: Uint8Array, from: number, behind: number): boolean {
    const to = behind - 2;
    // A bare line feed ends a line for some and not for others.
    if (to < from || bytes[to] !== carriageReturn) return false;
    const isEmpty = to === from;
    switch (this.#expects) {
      case "start":
        if (isEmpty) return this.#kind === "request";
        this.#start = this.#kind === "request" ? parseRequestLine(bytes, from, to) : parseStatusLine(bytes, from, to);
        this.#expects = "field";
        return this.#start !== undefined;
      case "field":
        return isEmpty ? this.#endHead() : readField(bytes, from, to, this.#fields);
      case "chunk-size": {
        const size = parseChunkSize(bytes, from, to);
        if (size > 0) this.#left = size;
        this.#expects = size > 0 ? "chunk-end" : "trailer";
        this.#looked = 0;
        return size >= 0;
      }
      case "chunk-end":
        this.#expects = "chunk-size";
        this.#looked = 0;
        return isEmpty;
      case "trailer":
        if (isEmpty) this.#end();
        return true;
    }
  }

  #endHead(): boolean {
    const framing = this.#start && this.#sink.head(this.#start, this.#fields);
    if (framing === undefined) return false;
    this.#looked = 0;
    if (framing === "chunked") {
      this.#expects = "chunk-size";
      return true;
    }
    this.#expects = "start";
    this.#left = framing;
    if (framing === 0) this.#end();
    return true;
  }

  #end(): void {
    this.#expects = "start";
    this.#left = 0;
    this.#looked = 0;
    this.#fields = { contentLength: undefined, coding: "none" };
    this.#sink.ended();
  }

  #mayBegin(line: Uint8Array, length: number): boolean {
    if (this.#kind === "response") return mayBeginResponse(line, 0, length);
    return line[0] === carriageReturn || mayBeginRequest(line, 0, length);
  }
}

/** Behind the next line feed; `end` where there is none before it. */
function behindLine(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  // A line is a few dozen octets: any call of something faster costs more.
  while (at < end && bytes[at] !== lineFeed) at++;
  return at < end ? at + 1 : end;
}

/** Octets of a head that are looked at. */
export const mostHeadOctets = 8_192;
const fewestKept = 256;
const [lineFeed, carriageReturn] = [0x0a, 0x0d] as const;
