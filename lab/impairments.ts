/** What a bad link does to each frame, as arithmetic: when it comes out at the other end, how often, or never. Pure. */
import type { Random } from "../core/base/random.ts";

export interface Impairments {
  /** Megabits a second, link headers included; 0 is as fast as it goes. */
  readonly rateMbit: number;
  /** One way. */
  readonly delayMs: number;
  /** Shares of frames, 0 to 100. A reordered frame is overtaken by those of the next milliseconds. */
  readonly lossPercent: number;
  readonly reorderPercent: number;
  readonly duplicatePercent: number;
}

export const unimpaired: Impairments = {
  rateMbit: 0,
  delayMs: 0,
  lossPercent: 0,
  reorderPercent: 0,
  duplicatePercent: 0,
};

/** Takes fields from a request over what was there before, or says in a sentence what is wrong with one. */
export function readImpairments(before: Impairments, wanted: Readonly<Record<string, unknown>>): Impairments | string {
  for (const [field, value] of Object.entries(wanted)) {
    if (!Object.hasOwn(unimpaired, field)) return `${field} is none of ${Object.keys(unimpaired).join(", ")}`;
    const most = field.endsWith("Percent") ? 100 : field === "delayMs" ? 10_000 : 100_000;
    if (typeof value !== "number" || !(value >= 0 && value <= most))
      return `${field} must be a number from 0 to ${most}`;
  }
  return { ...before, ...wanted };
}

/** One direction of a link. */
export class Channel {
  #impairments: Impairments;
  readonly #random: Random;
  /** When the frames admitted so far have left the sender, monotonic ms. */
  #busyUntilMs = 0;

  constructor(impairments: Impairments, random: Random) {
    this.#impairments = impairments;
    this.#random = random;
  }

  change(impairments: Impairments): void {
    this.#impairments = impairments;
  }

  /**
   * When copies of this frame come out, monotonic ms: none, one or two.
   * @param bytes length of the frame.
   */
  admit(bytes: number, nowMs: number): readonly number[] {
    const { rateMbit, delayMs, lossPercent, reorderPercent, duplicatePercent } = this.#impairments;
    if (this.#happens(lossPercent)) return [];
    const sentMs = rateMbit === 0 ? nowMs : this.#send(bytes, nowMs);
    if (sentMs - nowMs > longestQueueMs) return [];
    if (rateMbit > 0) this.#busyUntilMs = sentMs;
    const dueMs = sentMs + delayMs + (this.#happens(reorderPercent) ? heldBackMs : 0);
    return this.#happens(duplicatePercent) ? [dueMs, dueMs] : [dueMs];
  }

  #send(bytes: number, nowMs: number): number {
    return Math.max(this.#busyUntilMs, nowMs) + (bytes * 8) / (this.#impairments.rateMbit * 1000);
  }

  #happens(percent: number): boolean {
    return percent > 0 && this.#random() * 100 < percent;
  }
}

/** A queue longer than this is dropped at its tail, as a router's is. */
const longestQueueMs = 200;
const heldBackMs = 3;
