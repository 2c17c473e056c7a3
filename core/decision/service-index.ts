/** Which service an address or a hostname means to a given client (agent-wire 1.8: visibility first, then preference). */
import type { MeshService } from "../protocol/wds/service.ts";
import { Lingering } from "./lingering.ts";
import { PrefixTree } from "./prefix-tree.ts";
import { allClaims, claimedAlso, claimedNoMore, ownClaim, publicClaim, type Claim } from "./service-claims.ts";

/** A service that an address led to, and whether by the address itself or by a prefix around it. */
export interface ServiceMatch {
  readonly service: MeshService;
  readonly by: "vip" | "prefix";
}

interface NetworkVips {
  /** Who claims exactly this address. */
  readonly exact: Map<string, Claim>;
  readonly prefixes: PrefixTree<Claim>;
}

/** Services by key, hostname, exact address and address prefix. */
export class ServiceIndex {
  readonly #byKey = new Map<string, MeshService>();
  readonly #byHostname = new Map<string, Claim>();
  readonly #networks = new Map<string, NetworkVips>();
  readonly #leaving = new Lingering<MeshService>();

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
    claim(this.#byHostname, service.hostname, service);
    for (const [network, address] of vipsOf(service)) claim(this.#vipsOf(network).exact, address, service);
    for (const prefix of prefixesOf(service))
      this.#vipsOf(prefix.network).prefixes.update(prefix, (claimed) => claimedAlso(claimed, service));
  }

  /** The removed service, or undefined when there was none of that key. */
  remove(key: string): MeshService | undefined {
    const service = this.#byKey.get(key);
    if (service === undefined) return undefined;
    this.#byKey.delete(key);
    release(this.#byHostname, service.hostname, service);
    for (const [network, address] of vipsOf(service)) release(this.#vipsOf(network).exact, address, service);
    for (const prefix of prefixesOf(service))
      this.#vipsOf(prefix.network).prefixes.update(prefix, (claimed) => claimedNoMore(claimed, service));
    for (const { network } of [...service.vips, ...service.cidrVips]) {
      const vips = this.#networks.get(network);
      if (vips && vips.exact.size === 0 && vips.prefixes.isEmpty()) this.#networks.delete(network);
    }
    return service;
  }

  /** One that has been removed is still found by its addresses, where nobody else is, until all that leave are let go. */
  linger(service: MeshService): void {
    for (const { network, address } of service.vips)
      if (this.#networks.get(network)?.exact.has(address) !== true) this.#leaving.add(network, address, service);
  }

  letGo(): void {
    this.#leaving.letGo();
  }

  /**
   * Exact before any prefix. Of prefixes those of the client's own namespace come first, then the longest, then the canonical.
   * @param clientNamespace whose view of the mesh counts.
   */
  findByAddress(network: string, address: string, clientNamespace: string): ServiceMatch | undefined {
    const vips = this.#networks.get(network);
    const exact = preferred(vips?.exact.get(address) ?? this.#leaving.at(network, address), clientNamespace);
    if (exact) return { service: exact, by: "vip" };
    if (vips === undefined) return undefined;
    let own: MeshService | undefined;
    let others: MeshService | undefined;
    // The shortest comes first: what comes later is closer.
    for (const { value } of vips.prefixes.covering(address)) {
      own = ownClaim(value, clientNamespace) ?? own;
      others = publicClaim(value) ?? others;
    }
    const service = own ?? others;
    return service && { service, by: "prefix" };
  }

  findByHostname(hostname: string, clientNamespace: string): MeshService | undefined {
    return preferred(this.#byHostname.get(hostname), clientNamespace);
  }

  /** Whoever may see them. */
  byHostname(hostname: string): Iterable<MeshService> {
    const claimed = this.#byHostname.get(hostname);
    return claimed === undefined ? [] : allClaims(claimed);
  }

  #vipsOf(network: string): NetworkVips {
    let vips = this.#networks.get(network);
    if (vips === undefined) this.#networks.set(network, (vips = { exact: new Map(), prefixes: new PrefixTree() }));
    return vips;
  }
}

/** The client's own namespace wins, then the canonical one of those that it may see. */
function preferred(claimed: Claim | undefined, clientNamespace: string): MeshService | undefined {
  return claimed && (ownClaim(claimed, clientNamespace) ?? publicClaim(claimed));
}

/** Each once, however often it was sent: a claim is taken back once. */
function vipsOf({ vips }: MeshService): readonly (readonly [network: string, address: string])[] {
  if (vips.length < 2) return vips.map(({ network, address }) => [network, address]);
  const byText = new Map(vips.map(({ network, address }) => [`${network}/${address}`, [network, address] as const]));
  return [...byText.values()];
}

function prefixesOf({ cidrVips }: MeshService): MeshService["cidrVips"] {
  if (cidrVips.length < 2) return cidrVips;
  return [
    ...new Map(cidrVips.map((cidr) => [`${cidr.network}/${cidr.prefix.join(".")}/${cidr.length}`, cidr])).values(),
  ];
}

function claim(index: Map<string, Claim>, at: string, service: MeshService): void {
  index.set(at, claimedAlso(index.get(at), service));
}

function release(index: Map<string, Claim>, at: string, service: MeshService): void {
  const left = claimedNoMore(index.get(at), service);
  if (left === undefined) index.delete(at);
  else index.set(at, left);
}
