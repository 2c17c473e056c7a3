/** Messages over TCP: each with its length in front, in two bytes (RFC 1035 4.2.2, RFC 7766). */
import { messageLimit } from "./constants.ts";

/** Puts a message behind its length. @param bytes at most 65,535. */
export function frame(bytes: Uint8Array): Uint8Array {
  if (bytes.length > messageLimit) throw new RangeError(`a DNS message of ${bytes.length} bytes`);
  const framed = new Uint8Array(2 + bytes.length);
  framed[0] = bytes.length >> 8;
  framed[1] = bytes.length & 0xff;
  framed.set(bytes, 2);
  return framed;
}

/**
 * Cuts a byte stream into messages. Bytes that come one by one cost what they cost: they are gathered in a buffer of its own that doubles, and
 * never hold the large chunks of a socket.
 */
export class FrameReader {
  #buffer: Uint8Array = new Uint8Array(0);
  #from = 0;
  #to = 0;
  #isOwn = false;

  /** @param chunk the reader's from now on. */
  push(chunk: Uint8Array): void {
    const kept = this.#to - this.#from;
    if (kept === 0) {
      [this.#buffer, this.#from, this.#to, this.#isOwn] = [chunk, 0, chunk.length, false];
      return;
    }
    if (!this.#isOwn || this.#to + chunk.length > this.#buffer.length) {
      // Never moved in place: messages that were handed out are views.
      const room = new Uint8Array(2 * (kept + chunk.length));
      room.set(this.#buffer.subarray(this.#from, this.#to));
      [this.#buffer, this.#from, this.#to, this.#isOwn] = [room, 0, kept, true];
    }
    this.#buffer.set(chunk, this.#to);
    this.#to += chunk.length;
  }

  /** The next whole message, a view into what was pushed; undefined when there is none yet. */
  next(): Uint8Array | undefined {
    if (this.#to - this.#from < 2) return undefined;
    const start = this.#from + 2;
    const end = start + (((this.#buffer[this.#from] ?? 0) << 8) | (this.#buffer[this.#from + 1] ?? 0));
    if (end > this.#to) return undefined;
    this.#from = end;
    return this.#buffer.subarray(start, end);
  }

  /** Bytes that wait for the rest of their message. */
  get waiting(): number {
    return this.#to - this.#from;
  }
}
