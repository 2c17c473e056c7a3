/**
 * One worker's queue of mesh slices. At most two are under way, so that a full push of 50,000 workloads never takes more of the
 * worker's time in one piece than a slice does: connections are served in between.
 */
import type { MeshSlice } from "./mesh-slice.ts";
import type { ToWorker } from "./worker-messages.ts";

interface Queued {
  readonly update: MeshSlice;
  /** Set on the last slice of a push. */
  readonly settle?: () => void;
}

export class WorkerFeed {
  readonly #send: (message: ToWorker) => void;
  readonly #queue: Queued[] = [];
  readonly #underWay = new Map<number, Queued>();
  #sequence = 0;
  #stopped = false;

  constructor(send: (message: ToWorker) => void) {
    this.#send = send;
  }

  /** Settles when the worker has applied all of them. */
  push(slices: readonly MeshSlice[]): Promise<void> {
    if (slices.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      slices.forEach((update, at) => {
        this.#queue.push(at === slices.length - 1 ? { update, settle: resolve } : { update });
      });
      this.#fill();
    });
  }

  /** The worker says so. */
  applied(sequence: number): void {
    const slice = this.#underWay.get(sequence);
    this.#underWay.delete(sequence);
    slice?.settle?.();
    this.#fill();
  }

  /** The worker is gone: what is pushed from now on waits for `abandon`. */
  stop(): void {
    this.#stopped = true;
  }

  /** Gives the queue up. @returns who waits for it: to be called when the worker's successor has been fed with everything. */
  abandon(): (() => void)[] {
    const all = [...this.#underWay.values(), ...this.#queue];
    this.#underWay.clear();
    this.#queue.length = 0;
    return all.flatMap(({ settle }) => (settle === undefined ? [] : [settle]));
  }

  #fill(): void {
    while (!this.#stopped && this.#underWay.size < mostUnderWay) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#sequence += 1;
      this.#underWay.set(this.#sequence, next);
      this.#send({ kind: "mesh", sequence: this.#sequence, update: next.update });
    }
  }
}

const mostUnderWay = 2;
