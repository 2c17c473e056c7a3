/**
 * Bytes of a stream whose reader has stalled. Copied together: a view of one byte keeps the whole buffer that it was read into, and a
 * peer that sends its window byte by byte would make us hold several hundred times as much (615 MB for 4 MiB were measured).
 */
export class HeldBytes {
  /** Blocks in order; all but the last are full. */
  readonly #blocks: Uint8Array[] = [];
  /** Where the bytes of the last block end. */
  #to = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(bytes: Uint8Array): void {
    this.#length += bytes.length;
    let rest = bytes;
    while (rest.length > 0) {
      let block = this.#blocks.at(-1);
      if (block === undefined || this.#to === block.length) {
        const size = Math.min(largestBlock, Math.max(smallestBlock, rest.length, (block?.length ?? 0) * 2));
        block = Buffer.allocUnsafeSlow(size);
        this.#blocks.push(block);
        this.#to = 0;
      }
      const part = rest.subarray(0, block.length - this.#to);
      block.set(part, this.#to);
      this.#to += part.length;
      rest = rest.subarray(part.length);
    }
  }

  /** The oldest bytes, a block at most; undefined when there are none. They are the caller's. */
  take(): Uint8Array | undefined {
    const block = this.#blocks.shift();
    if (block === undefined) return undefined;
    const bytes = block.subarray(0, this.#blocks.length === 0 ? this.#to : block.length);
    this.#length -= bytes.length;
    return bytes;
  }
}

const smallestBlock = 1_024;
const largestBlock = 65_536;
