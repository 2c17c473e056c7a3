/** Slices of the mesh in order, one in a turn: a large push is taken in between what connections want, not before it. */
import type { Clock } from "../../core/base/clock.ts";
import type { MeshSlice } from "../mesh-slice.ts";

export interface MeshTurnsModules {
  readonly apply: (slice: MeshSlice) => void;
  /** Whether there are connections that would wait. */
  readonly isBusy: () => boolean;
  readonly clock: Clock;
  /** Runs it after what is ready by now: setImmediate. */
  readonly later: (run: () => void) => void;
}

export class MeshTurns {
  readonly #modules: MeshTurnsModules;
  readonly #queue: { readonly slice: MeshSlice; readonly done: (() => void) | undefined }[] = [];
  #isScheduled = false;

  constructor(modules: MeshTurnsModules) {
    this.#modules = modules;
  }

  /** The first at once, unless others are before it. @param done called when the last has been applied. */
  take(slices: readonly MeshSlice[], done: () => void): void {
    for (const [at, slice] of slices.entries()) {
      this.#queue.push({ slice, done: at === slices.length - 1 ? done : undefined });
    }
    if (!this.#isScheduled) this.#turn();
  }

  #turn(): void {
    const { apply, isBusy, clock, later } = this.#modules;
    const next = this.#queue.shift();
    this.#isScheduled = this.#queue.length > 0;
    // First what follows: a bug in this slice ends the thread, not the order.
    if (this.#isScheduled) {
      if (isBusy()) clock.after(breathMs, () => this.#turn());
      else later(() => this.#turn());
    }
    if (next === undefined) return;
    apply(next.slice);
    next.done?.();
  }
}

/** With connections open: a slice takes about a third of that. */
const breathMs = 1;
