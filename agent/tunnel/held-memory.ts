/**
 * What a worker holds for streams whose readers have stalled, all tunnels together. Every stream may be sent its whole window, so a peer
 * with many streams could have us hold any amount: when memory is short windows shrink, and when it is used up a stream that would
 * have more held for it is ended instead.
 */
export class HeldMemory {
  readonly #limit: number;
  #octets = 0;
  #isShort = false;

  /** @param limit octets. */
  constructor(limit = Infinity) {
    this.#limit = limit;
  }

  get octets(): number {
    return this.#octets;
  }

  /** @returns false when there is no room for so much: it is not to be held. */
  hold(octets: number): boolean {
    if (this.#octets + octets > this.#limit) {
      this.#isShort = true;
      return false;
    }
    this.#octets += octets;
    if (this.#octets > this.#limit / 2) this.#isShort = true;
    return true;
  }

  release(octets: number): void {
    this.#octets -= octets;
    if (this.#octets <= this.#limit / 4) this.#isShort = false;
  }

  /** Windows are to be small, and nothing new is to be begun; until there is plenty again. */
  get isShort(): boolean {
    return this.#isShort;
  }
}
