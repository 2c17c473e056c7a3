/** The lab's address plan, and who holds which address of it. No I/O: the same plan for the same input. */
import { TypedError } from "../core/base/errors.ts";

/** Which IP families the lab speaks: 4, 6 or both. */
export type Families = "4" | "6" | "46";

export function isFamilies(text: string): text is Families {
  return text === "4" || text === "6" || text === "46";
}

/** An address and the length of its prefix in bits. */
export interface Interfaced {
  readonly address: string;
  readonly prefix: number;
}

/** Addresses of one node: its link to the router, and the range its pods live in. One entry per family, IPv4 first. */
export interface NodePlan {
  readonly name: string;
  /** From 1. */
  readonly index: number;
  readonly routerEnd: readonly Interfaced[];
  readonly nodeEnd: readonly Interfaced[];
  readonly podRanges: readonly Interfaced[];
}

export class AddressError extends TypedError<
  | { readonly code: "lab.too-many-nodes"; readonly most: number }
  | { readonly code: "lab.addresses-exhausted"; readonly range: string }
> {}

/** Where the router answers on its loopback: the control plane's address. */
export function routerAddresses(families: Families): string[] {
  return perFamily(families, "172.30.0.1", "fd00:30::1");
}

export function planNode(name: string, index: number, families: Families): NodePlan {
  if (index > mostNodes) throw new AddressError({ code: "lab.too-many-nodes", most: mostNodes });
  const hex = index.toString(16);
  const link = (host: number): Interfaced[] =>
    perFamily(
      families,
      { address: `172.30.${index}.${host}`, prefix: 30 },
      { address: `fd00:30:${hex}::${host}`, prefix: 64 },
    );
  return {
    name,
    index,
    routerEnd: link(1),
    nodeEnd: link(2),
    podRanges: perFamily(
      families,
      { address: `10.244.${index}.0`, prefix: 24 },
      { address: `fd00:244:${hex}::`, prefix: 64 },
    ),
  };
}

/** Addresses of a node's pods. A pod that comes back under its name gets what it had, as long as nobody needed it since. */
export class PodAddresses {
  readonly #plan: NodePlan;
  readonly #slots: Slots;

  constructor(plan: NodePlan) {
    this.#plan = plan;
    this.#slots = new Slots(2, 254, plan.podRanges.map((range) => `${range.address}/${range.prefix}`).join(" "));
  }

  /** @param pod `namespace/name`. One address per family, IPv4 first; asking again gives the same ones. */
  assign(pod: string): string[] {
    const slot = this.#slots.take(pod);
    return this.#plan.podRanges.map(({ address }) =>
      address.includes(":") ? `${address}${slot.toString(16)}` : address.replace(/0$/, String(slot)),
    );
  }

  release(pod: string): void {
    this.#slots.release(pod);
  }
}

/** Virtual addresses of services that bring none. */
export class ServiceAddresses {
  readonly #families: Families;
  readonly #slots = new Slots(0, 31_749, "10.96.128.0/17");

  constructor(families: Families) {
    this.#families = families;
  }

  /** @param service `namespace/name` */
  assign(service: string): string[] {
    // The upper half of 10.96.0.0/16, so that manifests may use the lower one.
    const slot = this.#slots.take(service);
    return perFamily(
      this.#families,
      `10.96.${128 + Math.floor(slot / 250)}.${1 + (slot % 250)}`,
      `fd00:96::${(0x8000 + slot).toString(16)}`,
    );
  }

  /** Whether this service's addresses are ours. */
  holds(service: string): boolean {
    return this.#slots.holds(service);
  }

  release(service: string): void {
    this.#slots.release(service);
  }
}

/** Numbers handed out by name: lowest first, a released one remembered for its holder and reused last. */
class Slots {
  readonly #held = new Map<string, number>();
  readonly #released = new Map<string, number>();
  readonly #last: number;
  readonly #range: string;
  #next: number;

  constructor(first: number, last: number, range: string) {
    this.#next = first;
    this.#last = last;
    this.#range = range;
  }

  take(name: string): number {
    const slot = this.#held.get(name) ?? this.#released.get(name) ?? this.#fresh();
    this.#released.delete(name);
    this.#held.set(name, slot);
    return slot;
  }

  holds(name: string): boolean {
    return this.#held.has(name);
  }

  release(name: string): void {
    const slot = this.#held.get(name);
    if (slot === undefined) return;
    this.#held.delete(name);
    this.#released.set(name, slot);
  }

  #fresh(): number {
    if (this.#next <= this.#last) return this.#next++;
    const [oldest] = this.#released;
    if (oldest === undefined) throw new AddressError({ code: "lab.addresses-exhausted", range: this.#range });
    this.#released.delete(oldest[0]);
    return oldest[1];
  }
}

function perFamily<T>(families: Families, v4: T, v6: T): T[] {
  return [...(families.includes("4") ? [v4] : []), ...(families.includes("6") ? [v6] : [])];
}

const mostNodes = 254;
