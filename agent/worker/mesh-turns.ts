/**
 * Slices of the mesh in order, one in a turn: a large push is taken in between what connections want, not before it. Nobody's request waits for
 * news about ten thousand others: with connections open this thread, and with it whoever feeds it, leaves most of the processor to them.
 */
import type { Clock } from "../../core/base/clock.ts";
import { restAfter } from "../../core/base/pace.ts";
import type { MeshSlice } from "../mesh-slice.ts";

export interface MeshTurnsModules {
  readonly apply: (slice: MeshSlice) => void;
  /** Whether there are connections that would be held up, and none that waits for the mesh itself. */
  readonly isBusy: () => boolean;
  readonly clock: Clock;
  /** Runs it after what is ready by now: setImmediate. */
  readonly later: (run: () => void) => void;
}

interface Queued {
  readonly slice: MeshSlice;
  readonly done: (() => void) | undefined;
  /** An update of its own, or the beginning of a push: what comes after it in another message needn't wait. */
  readonly isAlone: boolean;
}

export class MeshTurns {
  readonly #modules: MeshTurnsModules;
  readonly #queue: Queued[] = [];
  #isScheduled = false;
  /** Nothing is applied before. */
  #restsUntilMs = 0;

  constructor(modules: MeshTurnsModules) {
    this.#modules = modules;
  }

  /** The first at once, unless others are before it or several were just now. @param done called when the last has been applied. */
  take(slices: readonly MeshSlice[], done: () => void): void {
    for (const [at, slice] of slices.entries()) {
      this.#queue.push({ slice, done: at === slices.length - 1 ? done : undefined, isAlone: slices.length === 1 });
    }
    if (this.#isScheduled || this.#queue.length === 0) return;
    if (this.#restMs() > 0) this.#schedule();
    else this.#turn();
  }

  #turn(): void {
    const { apply, clock } = this.#modules;
    const next = this.#queue.shift();
    if (next === undefined) return;
    const beganMs = clock.nowMs();
    this.#isScheduled = true;
    try {
      apply(next.slice);
      next.done?.();
    } finally {
      // A bug in this slice ends the thread, not the order.
      const endedMs = clock.nowMs();
      const isLast = this.#queue.length === 0;
      this.#restsUntilMs = isLast && next.isAlone ? 0 : endedMs + restAfter(endedMs - beganMs);
      this.#isScheduled = false;
      if (!isLast) this.#schedule();
    }
  }

  #schedule(): void {
    const { clock, later } = this.#modules;
    const restMs = this.#restMs();
    this.#isScheduled = true;
    if (restMs > 0) clock.after(restMs, () => this.#turn());
    else later(() => this.#turn());
  }

  #restMs(): number {
    const { isBusy, clock } = this.#modules;
    return isBusy() ? this.#restsUntilMs - clock.nowMs() : 0;
  }
}
