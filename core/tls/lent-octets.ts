/**
 * Memory that OpenSSL writes to and that is then lent to whoever reads it: one slab a thread, warm in the cache, used again and again
 * by all connections. What a reader keeps is cut off the slab for good, and goes with its last reader as any buffer does.
 */
import { addressOf, type Address } from "./bindings.ts";

export class LentOctets {
  #slab: Buffer;
  #address: Address;
  /** What lies before was kept. */
  #kept = 0;

  constructor() {
    this.#slab = Buffer.allocUnsafeSlow(slabOctets);
    this.#address = addressOf(this.#slab.buffer);
  }

  /** Where so many octets can be written now. Asked for before each use, and never held beyond it. */
  room(octets: number): Address {
    if (this.#kept + octets > slabOctets) {
      this.#slab = Buffer.allocUnsafeSlow(slabOctets);
      this.#address = addressOf(this.#slab.buffer);
      this.#kept = 0;
    }
    return this.#address + this.#kept;
  }

  /**
   * What has been written there. It is the taker's until it is told {@link release}d, also when others ask for room meanwhile.
   * Few octets are the taker's for good: a small thing must not hold a slab.
   */
  take(octets: number): Buffer {
    const end = this.#kept + octets;
    if (octets <= mostCopied) {
      const copy = Buffer.allocUnsafe(octets);
      this.#slab.copy(copy, 0, this.#kept, end);
      return copy;
    }
    const taken = this.#slab.subarray(this.#kept, end);
    this.#kept = (end + 63) & ~63;
    return taken;
  }

  /** The taker has no use for it any more, and nobody else has. Only what was taken last can be used again. */
  release(taken: Buffer): void {
    if (taken.buffer !== this.#slab.buffer) return;
    if (((taken.byteOffset + taken.length + 63) & ~63) === this.#kept) this.#kept = taken.byteOffset;
  }
}

/** Three times what most rounds bring; one round must fit. */
const slabOctets = 256 << 10;
/** Below it a copy costs less than what a kept piece would keep with it. */
const mostCopied = 4 << 10;
