/** Which workload an address means. Several may share one; host-network workloads share their node's and are never found by it (agent-wire 1.8). */
import { placeOf } from "../base/sorted.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { Lingering } from "./lingering.ts";

/** Workloads by network and canonical address. */
export class AddressIndex {
  readonly #networks = new Map<string, Map<string, Holder>>();
  readonly #leaving = new Lingering<MeshWorkload>();

  add(workload: MeshWorkload): void {
    if (workload.hostNetwork) return;
    let addresses = this.#networks.get(workload.network);
    if (addresses === undefined) this.#networks.set(workload.network, (addresses = new Map<string, Holder>()));
    for (const address of eachOf(workload)) {
      const holder = addresses.get(address);
      if (holder === undefined) addresses.set(address, workload);
      else if (Array.isArray(holder)) holder.splice(placeOf(workload, holder, isPreferred), 0, workload);
      else addresses.set(address, isPreferred(holder, workload) ? [holder, workload] : [workload, holder]);
    }
  }

  /** One for another that has its addresses and is preferred to whom it was preferred. */
  replace(before: MeshWorkload, workload: MeshWorkload): void {
    const addresses = this.#networks.get(workload.network);
    if (workload.hostNetwork || addresses === undefined) return;
    for (const address of eachOf(workload)) {
      const holder = addresses.get(address);
      if (Array.isArray(holder)) holder[placeOf(before, holder, isPreferred)] = workload;
      else addresses.set(address, workload);
    }
  }

  remove(workload: MeshWorkload): void {
    const addresses = this.#networks.get(workload.network);
    if (workload.hostNetwork || addresses === undefined) return;
    for (const address of eachOf(workload)) {
      const holder = addresses.get(address);
      if (holder === undefined) continue;
      if (Array.isArray(holder)) {
        const at = placeOf(workload, holder, isPreferred);
        if (holder[at]?.uid === workload.uid) holder.splice(at, 1);
        if (holder.length === 0) addresses.delete(address);
      } else if (holder.uid === workload.uid) {
        addresses.delete(address);
      }
    }
    if (addresses.size === 0) this.#networks.delete(workload.network);
  }

  /** One that has been removed is still found by its addresses, where nobody else is, until all that leave are let go. */
  linger(workload: MeshWorkload): void {
    if (workload.hostNetwork) return;
    const held = this.#networks.get(workload.network);
    for (const address of workload.addresses)
      if (held?.has(address) !== true) this.#leaving.add(workload.network, address, workload);
  }

  letGo(): void {
    this.#leaving.letGo();
  }

  find(network: string, address: string): MeshWorkload | undefined {
    const holder = this.#networks.get(network)?.get(address);
    if (holder === undefined) return this.#leaving.at(network, address);
    return Array.isArray(holder) ? holder[0] : holder;
  }
}

/** One workload, as nearly always; or several, the preferred first: an outside proxy's address may stand for thousands. */
type Holder = MeshWorkload | MeshWorkload[];

/** Each address once, however often it was sent. */
function eachOf({ addresses }: MeshWorkload): Iterable<string> {
  return addresses.length < 2 ? addresses : new Set(addresses);
}

/** Captured pods first, then pods, then what else takes HBONE; among equals the smaller uid, so that the order of arrival decides nothing. */
function isPreferred(one: MeshWorkload, other: MeshWorkload): boolean {
  const difference = preference(one) - preference(other);
  return difference > 0 || (difference === 0 && one.uid < other.uid);
}

function preference(workload: MeshWorkload): number {
  return (workload.uid.includes("//Pod/") ? 2 : 0) + (workload.tunnel === "hbone" ? 1 : 0);
}
