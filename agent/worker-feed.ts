/**
 * One worker's queue of mesh slices: what has come together while the worker was at work goes in one message. It takes a slice in a turn, so that a
 * full push of 50,000 workloads never takes more of its time in one piece: connections are served in between.
 */
import type { MeshSlice } from "./mesh-slice.ts";
import type { ToWorker } from "./worker-messages.ts";

interface Queued {
  readonly slice: MeshSlice;
  /** Set on the last slice of a push. */
  readonly settle?: () => void;
}

export class WorkerFeed {
  readonly #send: (message: ToWorker) => void;
  readonly #queue: Queued[] = [];
  readonly #underWay = new Map<number, readonly Queued[]>();
  #sequence = 0;
  #stopped = false;
  #behind = 0;
  #lookingForRoom: (() => void)[] = [];

  constructor(send: (message: ToWorker) => void) {
    this.#send = send;
  }

  /** Settles when the worker has applied all of them. */
  push(slices: readonly MeshSlice[]): Promise<void> {
    if (slices.length === 0) return Promise.resolve();
    this.#behind += slices.length;
    return new Promise((resolve) => {
      slices.forEach((slice, at) => {
        this.#queue.push(at === slices.length - 1 ? { slice, settle: resolve } : { slice });
      });
      this.#fill();
    });
  }

  /** Slices that the worker has not applied. */
  get behind(): number {
    return this.#behind;
  }

  /** Settles when the worker has no more than so many slices before it, or is gone. */
  async room(most: number): Promise<void> {
    while (this.#behind > most && !this.#stopped) {
      await new Promise<void>((resolve) => this.#lookingForRoom.push(resolve));
    }
  }

  /** The worker says so. */
  applied(sequence: number): void {
    const slices = this.#underWay.get(sequence) ?? [];
    this.#underWay.delete(sequence);
    this.#behind -= slices.length;
    this.#tellOfRoom();
    for (const { settle } of slices) settle?.();
    this.#fill();
  }

  /** The worker is gone: what is pushed from now on waits for `abandon`. */
  stop(): void {
    this.#stopped = true;
    this.#tellOfRoom();
  }

  /** Gives the queue up. @returns who waits for it: to be called when the worker's successor has been fed with everything. */
  abandon(): (() => void)[] {
    const all = [...this.#underWay.values(), this.#queue].flat();
    this.#underWay.clear();
    this.#queue.length = 0;
    return all.flatMap(({ settle }) => (settle === undefined ? [] : [settle]));
  }

  #tellOfRoom(): void {
    const looking = this.#lookingForRoom;
    this.#lookingForRoom = [];
    for (const look of looking) look();
  }

  #fill(): void {
    while (!this.#stopped && this.#underWay.size < mostUnderWay) {
      const slices = this.#queue.splice(0, mostTogether);
      const [first, ...more] = slices.map(({ slice }) => slice);
      if (first === undefined) return;
      this.#sequence += 1;
      this.#underWay.set(this.#sequence, slices);
      this.#send({ kind: "mesh", sequence: this.#sequence, update: first, ...(more.length > 0 && { more }) });
    }
  }
}

/** While the worker is at one the next is on its way. */
const mostUnderWay = 2;
const mostTogether = 16;
