/** Values under IP prefixes, found by an address in at most 32 or 128 steps, however many prefixes there are. */
import { parseIp } from "../base/ip.ts";
import type { Prefix } from "../protocol/wds/fields.ts";

interface Node<T> {
  readonly children: [Node<T> | undefined, Node<T> | undefined];
  value: T | undefined;
}

/** What covers an address, and with how many bits. */
export interface Covering<T> {
  readonly value: T;
  readonly length: number;
}

/** A binary trie per address family. */
export class PrefixTree<T> {
  readonly #roots = { 4: emptyNode<T>(), 16: emptyNode<T>() };

  /** Puts what `change` makes of the value that the prefix has. Undefined is no value; nodes that nobody needs any more go with it. */
  update(prefix: Prefix, change: (value: T | undefined) => T | undefined): void {
    const path: Node<T>[] = [this.#rootOf(prefix.prefix)];
    for (let depth = 0; depth < prefix.length; depth++) {
      const children = path[depth]?.children;
      if (children) path.push((children[bitAt(prefix.prefix, depth)] ??= emptyNode()));
    }
    const last = path[prefix.length];
    if (last) last.value = change(last.value);
    for (let depth = prefix.length; depth > 0; depth--) {
      const node = path[depth];
      if (node === undefined || node.value !== undefined || node.children[0] || node.children[1]) return;
      const parent = path[depth - 1];
      if (parent) parent.children[bitAt(prefix.prefix, depth - 1)] = undefined;
    }
  }

  /** Everything that covers the address, shortest prefix first. Text that is no address is covered by nothing. */
  covering(address: string): Covering<T>[] {
    const bytes = parseIp(address);
    const found: Covering<T>[] = [];
    if (bytes === undefined) return found;
    let node: Node<T> | undefined = this.#rootOf(bytes);
    for (let depth = 0; node !== undefined; depth++) {
      if (node.value !== undefined) found.push({ value: node.value, length: depth });
      if (depth === bytes.length * 8) break;
      node = node.children[bitAt(bytes, depth)];
    }
    return found;
  }

  isEmpty(): boolean {
    return [this.#roots[4], this.#roots[16]].every(
      (root) => root.value === undefined && root.children.every((child) => child === undefined),
    );
  }

  #rootOf(bytes: Uint8Array): Node<T> {
    return bytes.length === 4 ? this.#roots[4] : this.#roots[16];
  }
}

function emptyNode<T>(): Node<T> {
  return { children: [undefined, undefined], value: undefined };
}

function bitAt(bytes: Uint8Array, index: number): 0 | 1 {
  return ((bytes[index >> 3] ?? 0) >> (7 - (index & 7))) & 1 ? 1 : 0;
}
