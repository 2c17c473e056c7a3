/**
 * What workers tell each other of one pod, in shared memory: how many of its connections each holds, and whether each accepts more. Each
 * writes its own share, and all see all of it.
 */

/** For one pod; the main thread makes it, and each worker is given it with the pod. */
export function podConnectionCells(): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * 2 * cells);
}

export class PodConnections {
  readonly #cells: Int32Array;
  readonly #own: number;

  /** @param worker index of whose share this is. */
  constructor(buffer: SharedArrayBuffer, worker: number) {
    this.#cells = new Int32Array(buffer);
    this.#own = cellOf(worker);
  }

  began(): void {
    Atomics.add(this.#cells, this.#own, 1);
  }

  ended(): void {
    Atomics.sub(this.#cells, this.#own, 1);
  }

  /** Whether this worker accepts more. */
  set accepts(does: boolean) {
    Atomics.store(this.#cells, cells + this.#own, Number(does));
  }

  /** The worker is gone, and all it had with it. */
  clear(): void {
    Atomics.store(this.#cells, this.#own, 0);
    this.accepts = false;
  }

  get total(): number {
    let sum = 0;
    for (let cell = 0; cell < cells; cell++) sum += Atomics.load(this.#cells, cell);
    return sum;
  }

  /** @returns how many connections that worker holds; undefined where it accepts no more. */
  acceptedBy(worker: number): number | undefined {
    const cell = cellOf(worker);
    return Atomics.load(this.#cells, cells + cell) === 0 ? undefined : Atomics.load(this.#cells, cell);
  }
}

function cellOf(worker: number): number {
  return worker % cells;
}

/** More workers than that share a cell each; then a lost one's share is forgotten with another's. */
const cells = 64;
