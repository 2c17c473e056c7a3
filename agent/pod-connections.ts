/** How many connections one pod holds, over all workers: each counts its own in shared memory, and all see the sum. */

/** For one pod; the main thread makes it, and each worker is given it with the pod. */
export function podConnectionCells(): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * cells);
}

export class PodConnections {
  readonly #cells: Int32Array;
  readonly #own: number;

  /** @param worker index of whose share this is. */
  constructor(buffer: SharedArrayBuffer, worker: number) {
    this.#cells = new Int32Array(buffer);
    this.#own = worker % cells;
  }

  began(): void {
    Atomics.add(this.#cells, this.#own, 1);
  }

  ended(): void {
    Atomics.sub(this.#cells, this.#own, 1);
  }

  /** The worker is gone, and all it had with it. */
  clear(): void {
    Atomics.store(this.#cells, this.#own, 0);
  }

  get total(): number {
    let sum = 0;
    for (let cell = 0; cell < cells; cell++) sum += Atomics.load(this.#cells, cell);
    return sum;
  }
}

/** More workers than that share a cell each; then a lost one's share is forgotten with another's. */
const cells = 64;
