/** A large update handed on a piece per turn, so that nobody waits for all of it. */
import type { Pace } from "../core/base/pace.ts";

export interface Takers<Piece> {
  /** Hands a piece on at once. Settles when all have taken it in, those included that come later for one that is gone. */
  readonly hand: (piece: Piece) => Promise<void>;
  /** Settles when those that can take something in have no more than so many pieces before them. */
  readonly room: (most: number) => Promise<void>;
  readonly pace: Pace;
}

/**
 * Carries `pieces` through to the end and hands each on at once (undefined: there was none in this turn), but for so many at a time that
 * whoever takes them in sets the pace.
 * @returns what they came to, once all have arrived.
 */
export async function handInPieces<Piece, Result>(
  pieces: Iterator<Piece | undefined, Result>,
  { hand, room, pace }: Takers<Piece>,
): Promise<Result> {
  const underWay: Promise<void>[] = [];
  for (let turn = 1; ; turn++) {
    const beganMs = pace.clock.nowMs();
    const next = pieces.next();
    if (next.done === true) {
      await Promise.all(underWay);
      return next.value;
    }
    if (next.value !== undefined) underWay.push(hand(next.value));
    const tookMs = pace.clock.nowMs() - beganMs;
    await room(mostAhead);
    // What is one piece alone needn't wait: the next turn is its end.
    if (turn > 1) await pace.rest(tookMs);
  }
}

/** Enough for a worker never to wait for this thread, and for a few messages to say it. */
const mostAhead = 64;
