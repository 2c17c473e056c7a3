/**
 * gRPC messages out of the octets of a stream, each written once into a buffer of its own as it comes (gRPC over HTTP/2,
 * "Length-Prefixed-Message": a flag, a length in four octets, the message).
 *
 * grpc-js's own decoder collects the pieces, joins them when the last has come, and holds them until the next message begins: of a
 * push of a whole mesh tens of megabytes, which nobody needs, for as long as control has nothing to say.
 */
import { StreamDecoder } from "@grpc/grpc-js/build/src/stream-decoder.js";

export class MessageFramer {
  readonly #longest: number;
  readonly #head = Buffer.alloc(headOctets);
  /** Of the head, or of the message with its head. */
  #have = 0;
  #message: Buffer | undefined;

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
    }
    return messages;
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
}

function framed(this: StreamDecoder, data: Buffer): Buffer[] {
  let framer = framers.get(this);
  if (framer === undefined) {
    const { maxReadMessageLength } = this as unknown as { readonly maxReadMessageLength: number };
    framers.set(this, (framer = new MessageFramer(maxReadMessageLength)));
  }
  return framer.write(data);
}

const headOctets = 5;
const framers = new WeakMap<StreamDecoder, MessageFramer>();
