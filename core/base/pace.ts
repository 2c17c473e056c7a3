/**
 * Long work that nobody waits for, in short turns. What a thread takes in one piece it takes from whoever shares its processor, and the kernel
 * lets it run on for milliseconds: so where somebody would be held up it rests between two turns, for several times as long as the
 * last one took.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "./clock.ts";

export interface Pace {
  readonly clock: Clock;
  /** Whether there is somebody who would be held up. */
  isBusy(): boolean;
  /** Settles when the next turn may begin: where nobody is held up, after what is ready by now. @param tookMs the last one. */
  rest(tookMs: number): Promise<void>;
}

export function paceOf(clock: Clock, isBusy: () => boolean): Pace {
  return {
    clock,
    isBusy,
    rest: (tookMs) => (isBusy() ? new Promise((resolve) => void clock.after(restAfter(tookMs), resolve)) : nextTurn()),
  };
}

/** Of who has nobody to hold up. */
export function unhurried(clock: Clock): Pace {
  return paceOf(clock, () => false);
}

/** In milliseconds, both. A turn that took longer than the third of one that it is made for was itself kept waiting: others want the processor. */
export function restAfter(tookMs: number): number {
  return Math.min(mostRestMs, Math.max(leastRestMs, tookMs * restsPerWork));
}

const leastRestMs = 3;
const mostRestMs = 12;
const restsPerWork = 6;
