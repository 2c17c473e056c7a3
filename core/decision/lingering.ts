/** Who has left an address that nobody else has yet: found there until the whole of a push is in, so that no address is nobody's meanwhile. */
export class Lingering<T> {
  readonly #leaving = new Map<string, T>();

  add(network: string, address: string, who: T): void {
    this.#leaving.set(`${network}/${address}`, who);
  }

  /** Nearly always nobody lingers: then no key is put together either. */
  at(network: string, address: string): T | undefined {
    return this.#leaving.size === 0 ? undefined : this.#leaving.get(`${network}/${address}`);
  }

  letGo(): void {
    if (this.#leaving.size > 0) this.#leaving.clear();
  }
}
