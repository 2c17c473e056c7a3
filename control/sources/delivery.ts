/** Hands batches of changes to subscribers, each batch to all of them before the next. */
import type { ObjectDelta } from "./source.ts";

export class Delivery {
  readonly #subscribers = new Set<(deltas: readonly ObjectDelta[]) => void>();
  /** Batches on their way, the one being delivered first. */
  readonly #undelivered: (readonly ObjectDelta[])[] = [];

  subscribe(callback: (deltas: readonly ObjectDelta[]) => void): () => void {
    this.#subscribers.add(callback);
    return () => this.#subscribers.delete(callback);
  }

  publish(deltas: readonly ObjectDelta[]): void {
    if (deltas.length === 0) return;
    this.#undelivered.push(deltas);
    // A subscriber that writes a status is here again while others have not heard of the first change: theirs first.
    if (this.#undelivered.length > 1) return;
    for (let batch = this.#undelivered[0]; batch !== undefined; batch = this.#undelivered[0]) {
      for (const callback of this.#subscribers) callback(batch);
      this.#undelivered.shift();
    }
  }

  clear(): void {
    this.#subscribers.clear();
  }
}
