/** Which workload an address means. Several may share one; host-network workloads share their node's and are never found by it (agent-wire 1.8). */
import { placeOf } from "../base/sorted.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";

/** Workloads by network and canonical address; the preferred one of each address first. An outside proxy's address may stand for thousands. */
export class AddressIndex {
  readonly #networks = new Map<string, Map<string, MeshWorkload[]>>();

  add(workload: MeshWorkload): void {
    if (workload.hostNetwork) return;
    let addresses = this.#networks.get(workload.network);
    if (addresses === undefined) this.#networks.set(workload.network, (addresses = new Map<string, MeshWorkload[]>()));
    for (const address of new Set(workload.addresses)) {
      const sharing = addresses.get(address);
      if (sharing === undefined) addresses.set(address, [workload]);
      else sharing.splice(placeOf(workload, sharing, isPreferred), 0, workload);
    }
  }

  remove(workload: MeshWorkload): void {
    const addresses = this.#networks.get(workload.network);
    if (workload.hostNetwork || addresses === undefined) return;
    for (const address of workload.addresses) {
      const sharing = addresses.get(address);
      if (sharing === undefined) continue;
      const at = placeOf(workload, sharing, isPreferred);
      if (sharing[at]?.uid === workload.uid) sharing.splice(at, 1);
      if (sharing.length === 0) addresses.delete(address);
    }
    if (addresses.size === 0) this.#networks.delete(workload.network);
  }

  find(network: string, address: string): MeshWorkload | undefined {
    return this.#networks.get(network)?.get(address)?.[0];
  }
}

/** Captured pods first, then pods, then what else takes HBONE; among equals the smaller uid, so that the order of arrival decides nothing. */
function isPreferred(one: MeshWorkload, other: MeshWorkload): boolean {
  const difference = preference(one) - preference(other);
  return difference > 0 || (difference === 0 && one.uid < other.uid);
}

function preference(workload: MeshWorkload): number {
  return (workload.uid.includes("//Pod/") ? 2 : 0) + (workload.tunnel === "hbone" ? 1 : 0);
}
