/** Which service an address or a hostname means to a given client (agent-wire 1.8: visibility first, then preference). */
import type { MeshService } from "../protocol/wds/service.ts";
import { PrefixTree } from "./prefix-tree.ts";

/** A service that an address led to, and whether by the address itself or by a prefix around it. */
export interface ServiceMatch {
  readonly service: MeshService;
  readonly by: "vip" | "prefix";
}

interface NetworkVips {
  /** Services that claim exactly this address, by key. */
  readonly exact: Map<string, Map<string, MeshService>>;
  readonly prefixes: PrefixTree<MeshService>;
}

/** Services by key, hostname, exact address and address prefix. */
export class ServiceIndex {
  readonly #byKey = new Map<string, MeshService>();
  readonly #byHostname = new Map<string, Map<string, MeshService>>();
  readonly #networks = new Map<string, NetworkVips>();

  get size(): number {
    return this.#byKey.size;
  }

  /** @param key `namespace/hostname`. */
  get(key: string): MeshService | undefined {
    return this.#byKey.get(key);
  }

  values(): IterableIterator<MeshService> {
    return this.#byKey.values();
  }

  add(service: MeshService): void {
    this.#byKey.set(service.key, service);
    put(this.#byHostname, service.hostname, service);
    for (const { network, address } of service.vips) put(this.#vipsOf(network).exact, address, service);
    for (const prefix of service.cidrVips) this.#vipsOf(prefix.network).prefixes.add(prefix, service.key, service);
  }

  /** The removed service, or undefined when there was none of that key. */
  remove(key: string): MeshService | undefined {
    const service = this.#byKey.get(key);
    if (service === undefined) return undefined;
    this.#byKey.delete(key);
    drop(this.#byHostname, service.hostname, key);
    for (const { network, address } of service.vips) drop(this.#vipsOf(network).exact, address, key);
    for (const prefix of service.cidrVips) this.#vipsOf(prefix.network).prefixes.remove(prefix, key);
    for (const { network } of [...service.vips, ...service.cidrVips]) {
      const vips = this.#networks.get(network);
      if (vips && vips.exact.size === 0 && vips.prefixes.isEmpty()) this.#networks.delete(network);
    }
    return service;
  }

  /** @param clientNamespace whose view of the mesh counts. */
  findByAddress(network: string, address: string, clientNamespace: string): ServiceMatch | undefined {
    const vips = this.#networks.get(network);
    if (vips === undefined) return undefined;
    const exact = preferred(vips.exact.get(address)?.values(), clientNamespace);
    if (exact) return { service: exact, by: "vip" };
    const service = bestClaim(vips.prefixes, address, clientNamespace);
    return service && { service, by: "prefix" };
  }

  findByHostname(hostname: string, clientNamespace: string): MeshService | undefined {
    return preferred(this.#byHostname.get(hostname)?.values(), clientNamespace);
  }

  /** Whoever may see them. */
  byHostname(hostname: string): Iterable<MeshService> {
    return this.#byHostname.get(hostname)?.values() ?? [];
  }

  #vipsOf(network: string): NetworkVips {
    let vips = this.#networks.get(network);
    if (vips === undefined) this.#networks.set(network, (vips = { exact: new Map(), prefixes: new PrefixTree() }));
    return vips;
  }
}

function isVisible(service: MeshService, clientNamespace: string): boolean {
  return service.visibility === "public" || service.namespace === clientNamespace;
}

/** The client's own namespace wins, then the canonical one, then the smaller key, so that the order of arrival decides nothing. */
function preferred(candidates: Iterable<MeshService> | undefined, clientNamespace: string): MeshService | undefined {
  let best: MeshService | undefined;
  let bestRank = -1;
  for (const service of candidates ?? []) {
    if (!isVisible(service, clientNamespace)) continue;
    const rank = service.namespace === clientNamespace ? 2 : service.canonical ? 1 : 0;
    if (rank < bestRank || (rank === bestRank && best !== undefined && service.key > best.key)) continue;
    best = service;
    bestRank = rank;
  }
  return best;
}

/** Ranked by (client's own namespace, prefix length, canonical), then by the smaller key. */
function bestClaim(
  prefixes: PrefixTree<MeshService>,
  address: string,
  clientNamespace: string,
): MeshService | undefined {
  let best: MeshService | undefined;
  let bestRank = -1;
  for (const { value, length } of prefixes.covering(address)) {
    if (!isVisible(value, clientNamespace)) continue;
    const rank = (value.namespace === clientNamespace ? 1_000 : 0) + length * 2 + (value.canonical ? 1 : 0);
    if (rank < bestRank || (rank === bestRank && best !== undefined && value.key > best.key)) continue;
    best = value;
    bestRank = rank;
  }
  return best;
}

function put(index: Map<string, Map<string, MeshService>>, at: string, service: MeshService): void {
  const services = index.get(at);
  if (services === undefined) index.set(at, new Map([[service.key, service]]));
  else services.set(service.key, service);
}

function drop(index: Map<string, Map<string, MeshService>>, at: string, key: string): void {
  const services = index.get(at);
  services?.delete(key);
  if (services?.size === 0) index.delete(at);
}
