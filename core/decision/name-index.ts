/** Things by namespace and name. One name stands for several only where clusters share it. */

export class NameIndex<Item extends object> {
  readonly #uidOf: (item: Item) => string;
  readonly #namespaces = new Map<string, Map<string, Item | Map<string, Item>>>();

  constructor(uidOf: (item: Item) => string) {
    this.#uidOf = uidOf;
  }

  add(namespace: string, name: string, item: Item): void {
    let names = this.#namespaces.get(namespace);
    if (names === undefined) this.#namespaces.set(namespace, (names = new Map<string, Item | Map<string, Item>>()));
    const known = names.get(name);
    if (known === undefined) names.set(name, item);
    else if (known instanceof Map) known.set(this.#uidOf(item), item);
    else names.set(name, new Map([known, item].map((each) => [this.#uidOf(each), each])));
  }

  /** Instead of what is there under the same name and uid. */
  replace(namespace: string, name: string, item: Item): void {
    const names = this.#namespaces.get(namespace);
    const known = names?.get(name);
    if (known instanceof Map) known.set(this.#uidOf(item), item);
    else names?.set(name, item);
  }

  remove(namespace: string, name: string, uid: string): void {
    const names = this.#namespaces.get(namespace);
    const known = names?.get(name);
    if (names === undefined || known === undefined) return;
    if (known instanceof Map) known.delete(uid);
    if (known instanceof Map ? known.size === 0 : this.#uidOf(known) === uid) names.delete(name);
    if (names.size === 0) this.#namespaces.delete(namespace);
  }

  has(namespace: string, name: string, item: Item): boolean {
    const known = this.#namespaces.get(namespace)?.get(name);
    return known instanceof Map ? known.get(this.#uidOf(item)) === item : known === item;
  }

  of(namespace: string, name: string): Iterable<Item> {
    const known = this.#namespaces.get(namespace)?.get(name);
    if (known === undefined) return [];
    return known instanceof Map ? known.values() : [known];
  }
}
