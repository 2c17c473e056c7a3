/**
 * A few numbers that cross between threads without a message: each worker writes its own, and the main thread reads them even when a
 * worker answers nothing any more. The process's descriptors are counted by the main thread and what came since by each worker.
 */
/** Of one worker. */
export interface Vitals {
  /** That it carries. */
  readonly connections: number;
  /** The share of a processor that it had since its last beat, 0 to 1. */
  readonly load: number;
  /** Whether somebody there can't go on without more of the mesh. */
  readonly awaitsMesh: boolean;
}

/** Of one that carries nothing. */
export const stillness: Vitals = { connections: 0, load: 0, awaitsMesh: false };

export class VitalSigns {
  readonly buffer: SharedArrayBuffer;
  readonly #cells: Int32Array;

  /** @param of how many workers, or the buffer of another thread's. */
  constructor(of: number | SharedArrayBuffer) {
    const bytes = typeof of === "number" ? 4 * (headerCells + of * cellsOfWorker) : 0;
    this.buffer = typeof of === "number" ? new SharedArrayBuffer(bytes) : of;
    this.#cells = new Int32Array(this.buffer);
  }

  get workers(): number {
    return (this.#cells.length - headerCells) / cellsOfWorker;
  }

  /** The worker's event loop turns. */
  beat(worker: number, { connections, load, awaitsMesh }: Vitals): void {
    const at = cellOf(worker);
    Atomics.add(this.#cells, at + beatsCell, 1);
    Atomics.store(this.#cells, at + connectionsCell, connections);
    Atomics.store(this.#cells, at + loadCell, Math.round(load * loadUnits));
    Atomics.store(this.#cells, at + awaitsMeshCell, Number(awaitsMesh));
  }

  /** Changes as long as the worker's loop turns. */
  beats(worker: number): number {
    return Atomics.load(this.#cells, cellOf(worker) + beatsCell);
  }

  /** As of its last beat. */
  connections(worker: number): number {
    return Atomics.load(this.#cells, cellOf(worker) + connectionsCell);
  }

  /** As of its last beat, 0 to 1. */
  load(worker: number): number {
    return Atomics.load(this.#cells, cellOf(worker) + loadCell) / loadUnits;
  }

  /** Whether there are connections that would be held up by news of the mesh, and nobody who waits for them; as of the last beats. */
  get isBusy(): boolean {
    let connections = 0;
    for (let worker = 0; worker < this.workers; worker++) {
      if (Atomics.load(this.#cells, cellOf(worker) + awaitsMeshCell) !== 0) return false;
      connections += this.connections(worker);
    }
    return connections > 0;
  }

  /** The worker has opened so many descriptors, or is about to. */
  opened(worker: number, descriptors: number): void {
    Atomics.add(this.#cells, cellOf(worker) + openedCell, descriptors);
  }

  /** The process's descriptors, and how many it may have; what workers opened before is among them. */
  counted(descriptors: number, limit: number): void {
    Atomics.store(this.#cells, countedCell, descriptors);
    Atomics.store(this.#cells, limitCell, limit);
    for (let worker = 0; worker < this.workers; worker++) Atomics.store(this.#cells, cellOf(worker) + openedCell, 0);
  }

  /** Of the process: counted, and opened since. Never less than there are, but for what was opened while they were counted. */
  get descriptors(): number {
    let sum = Atomics.load(this.#cells, countedCell);
    for (let worker = 0; worker < this.workers; worker++) sum += Atomics.load(this.#cells, cellOf(worker) + openedCell);
    return sum;
  }

  /** 0 where nobody has said it. */
  get descriptorLimit(): number {
    return Atomics.load(this.#cells, limitCell);
  }
}

function cellOf(worker: number): number {
  return headerCells + worker * cellsOfWorker;
}

const countedCell = 0;
const limitCell = 1;
const headerCells = 4;
const beatsCell = 0;
const connectionsCell = 1;
const openedCell = 2;
const loadCell = 3;
const awaitsMeshCell = 4;
const loadUnits = 1_000;
/** A cache line each. */
const cellsOfWorker = 16;
