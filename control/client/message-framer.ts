/**
 * gRPC messages out of the octets of a stream, each written once into a buffer of its own as it comes (gRPC over HTTP/2,
 * "Length-Prefixed-Message": a flag, a length in four octets, the message).
 *
 * grpc-js's own decoder collects the pieces, joins them when the last has come, and holds them until the next message begins: of a
 * push of a whole mesh tens of megabytes, which nobody needs, for as long as control has nothing to say.
 *
 * While a large one comes the stream rests after each window full: decrypting and taking apart all that control has ready is a fifth of a
 * second of work at a stretch, and control waits as easily.
 */
import type { Readable } from "node:stream";
import { StreamDecoder } from "@grpc/grpc-js/build/src/stream-decoder.js";
import { Http2SubchannelCall } from "@grpc/grpc-js/build/src/subchannel-call.js";
import type { Pace } from "../../core/base/pace.ts";

export class MessageFramer {
  readonly #longest: number;
  readonly #head = Buffer.alloc(headOctets);
  /** Of the head, or of the message with its head. */
  #have = 0;
  #message: Buffer | undefined;
  /** As of when a piece of the message is there. */
  #pieceAt = pieceOctets;

  /** @param longest octets of a message; -1 for any. */
  constructor(longest: number) {
    this.#longest = longest;
  }

  /** The messages that end in there, each with its head. @throws Error where one says that it is too long. */
  write(data: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    for (let at = 0; at < data.length;) {
      const into = this.#message ?? this.#head;
      const taken = data.copy(into, this.#have, at);
      at += taken;
      this.#have += taken;
      if (this.#have < into.length) break;
      const message = this.#message ?? this.#begun();
      if (this.#have < message.length) {
        this.#message = message;
        continue;
      }
      messages.push(message);
      this.#message = undefined;
      this.#have = 0;
      this.#pieceAt = pieceOctets;
    }
    return messages;
  }

  /** Whether another piece of an unfinished message has come since this was true. */
  takePiece(): boolean {
    if (this.#have < this.#pieceAt) return false;
    this.#pieceAt = this.#have + pieceOctets;
    return true;
  }

  #begun(): Buffer {
    const length = this.#head.readUInt32BE(1);
    if (this.#longest !== -1 && length > this.#longest)
      throw new Error(`Received message larger than max (${length} vs ${this.#longest})`);
    const message = Buffer.allocUnsafe(headOctets + length);
    this.#head.copy(message);
    return message;
  }
}

/** From now on grpc-js takes messages out of streams so. */
export function useMessageFramer(): void {
  StreamDecoder.prototype.write = framed;
  if (calls.startRead === started) return;
  startRead = calls.startRead;
  calls.startRead = started;
}

/** All streams of this thread, those that are there already among them. */
export function paceMessages(by: Pace): void {
  pace = by;
}

function framed(this: StreamDecoder, data: Buffer): Buffer[] {
  let framer = framers.get(this);
  if (framer === undefined) {
    const { maxReadMessageLength } = this as unknown as { readonly maxReadMessageLength: number };
    framers.set(this, (framer = new MessageFramer(maxReadMessageLength)));
  }
  const messages = framer.write(data);
  const stream = framer.takePiece() ? streams.get(this) : undefined;
  if (stream !== undefined && pace?.isBusy() === true) rest(stream, pace);
  return messages;
}

/** What has come meanwhile waits in the window, and what does not fit into that at the other end. */
function rest(stream: Readable, by: Pace): void {
  stream.pause();
  void by.rest(0).then(() => stream.resume());
}

/** Called before each message: until it has come nobody but us pauses the stream. */
function started(this: Call): void {
  streams.set(this.decoder, this.http2Stream);
  startRead?.call(this);
}

/** Of Http2SubchannelCall what its own types keep to themselves. */
interface Call {
  readonly decoder: StreamDecoder;
  readonly http2Stream: Readable;
  startRead: (this: Call) => void;
}

const headOctets = 5;
/** What a stream's window is where nobody says otherwise (RFC 9113 section 6.9.2). */
const pieceOctets = 65_535;
const framers = new WeakMap<StreamDecoder, MessageFramer>();
const streams = new WeakMap<StreamDecoder, Readable>();
const calls = Http2SubchannelCall.prototype as unknown as Call;
let startRead: Call["startRead"] | undefined;
let pace: Pace | undefined;
