/** A large update handed on a piece per turn of the loop, so that nobody waits for all of it. */
import { setImmediate as nextTurn } from "node:timers/promises";

export interface Takers<Piece> {
  /** Hands a piece on at once. Settles when all have taken it in, those included that come later for one that is gone. */
  readonly hand: (piece: Piece) => Promise<void>;
  /** Settles when those that can take something in have no more than so many pieces before them. */
  readonly room: (most: number) => Promise<void>;
}

/**
 * Carries `pieces` through to the end and hands each on at once, but for so many at a time that whoever takes them in sets the pace.
 * @returns what they came to, once all have arrived.
 */
export async function handInPieces<Piece, Result>(
  pieces: Iterator<Piece, Result>,
  { hand, room }: Takers<Piece>,
): Promise<Result> {
  const underWay: Promise<void>[] = [];
  for (;;) {
    const next = pieces.next();
    if (next.done === true) {
      await Promise.all(underWay);
      return next.value;
    }
    underWay.push(hand(next.value));
    await room(mostAhead);
    await nextTurn();
  }
}

/** Enough for a worker never to wait for this thread, and for a few messages to say it. */
const mostAhead = 64;
