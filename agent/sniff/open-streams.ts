/** The streams of one sniffed HTTP/2 connection: a few octets each, because there may be a thousand of each of ten thousand connections. */

/** Slots are numbered from 0, in the order of their ids, and stay the same until a stream is removed. */
export class OpenStreams {
  /** Three words a slot: id, start, and status, gRPC status and kind in one. */
  #words = new Uint32Array(fewest * words);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Octets that it holds. */
  get held(): number {
    return this.#words.byteLength;
  }

  /** @param id above all that were there before. @returns false where there are too many. */
  add(id: number, startMs: number, isGrpc: boolean): boolean {
    if (this.#size >= mostStreams) return false;
    if ((this.#size + 1) * words > this.#words.length) this.#resize(this.#words.length * 2);
    const at = this.#size * words;
    this.#words[at] = id;
    this.#words[at + 1] = ticksOf(startMs);
    this.#words[at + 2] = (isGrpc ? grpcBit : 0) | noGrpcStatus;
    this.#size += 1;
    return true;
  }

  /** The slot of a stream; -1: it is not there. */
  find(id: number): number {
    let [from, to] = [0, this.#size - 1];
    while (from <= to) {
      const slot = (from + to) >>> 1;
      const found = this.#words[slot * words]!;
      if (found === id) return slot;
      if (found < id) from = slot + 1;
      else to = slot - 1;
    }
    return -1;
  }

  remove(slot: number): void {
    if (slot < this.#size - 1) this.#words.copyWithin(slot * words, (slot + 1) * words, this.#size * words);
    this.#size -= 1;
    if (this.#size === 0 && this.#words.length > kept * words) this.#words = new Uint32Array(fewest * words);
  }

  setStatus(slot: number, status: number): void {
    const at = slot * words + 2;
    this.#words[at] = (this.#words[at]! & 0xffff) | (status << 16);
  }

  setGrpcStatus(slot: number, status: number): void {
    const at = slot * words + 2;
    this.#words[at] = (this.#words[at]! & ~0xff) | status;
  }

  /** 0: no answer yet. */
  status(slot: number): number {
    return this.#words[slot * words + 2]! >>> 16;
  }

  /** -1: none yet. */
  grpcStatus(slot: number): number {
    const status = this.#words[slot * words + 2]! & 0xff;
    return status === noGrpcStatus ? -1 : status;
  }

  isGrpc(slot: number): boolean {
    return (this.#words[slot * words + 2]! & grpcBit) !== 0;
  }

  /** Milliseconds since it began. */
  durationMs(slot: number, nowMs: number): number {
    return ((ticksOf(nowMs) - this.#words[slot * words + 1]!) >>> 0) / ticksPerMs;
  }

  #resize(length: number): void {
    const larger = new Uint32Array(length);
    larger.set(this.#words);
    this.#words = larger;
  }
}

/** A 16th of a millisecond, in a word: what lasts longer than three days begins anew. */
function ticksOf(ms: number): number {
  return (ms * ticksPerMs) >>> 0;
}

/** Requests of one connection that are open at once. */
export const mostStreams = 1_000;
const words = 3;
const fewest = 8;
/** More than these are given back when the last one has gone. */
const kept = 64;
const ticksPerMs = 16;
const grpcBit = 0x100;
const noGrpcStatus = 0xff;
