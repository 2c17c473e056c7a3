/**
 * Which names the mesh owns for a client, and what it answers for them. Pure over MeshState. What is not owned passes to the client's own resolver:
 * nothing here ever says that a name does not exist.
 */
import type { Random } from "../base/random.ts";
import { types } from "../protocol/dns/constants.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { candidateNames, wildcardsOf, type Candidate } from "./dns-names.ts";
import type { MeshState } from "./mesh-state.ts";

export interface DnsSettings {
  /** `cluster.local` */
  readonly clusterDomain: string;
  /** Of services of one name, that of this namespace stands before those that nothing else distinguishes. */
  readonly preferredNamespace?: string;
  /** False: nobody is given an IPv6 address. */
  readonly ipv6: boolean;
}

export interface DnsFacts {
  /** The workload that asks. */
  readonly client: MeshWorkload;
  /** In lower case, without the last dot; undefined for what no host is called. */
  readonly name: string | undefined;
  /** TYPE number. */
  readonly type: number;
  readonly random: Random;
}

export type DnsDecision =
  | {
      readonly kind: "answer";
      /** Of the type that was asked for, in the order to be given; none: there is no such record of that name. */
      readonly addresses: readonly string[];
      readonly service: MeshService;
      /** The name behind which the addresses are, where a search domain was cut off: it is the first part of the one asked for. */
      readonly canonical?: string;
    }
  | { readonly kind: "pass"; readonly because: "type" | "name" | "records" };

/** @returns what the mesh answers, or that it leaves the question to whom it was put. */
export function decideDns(mesh: MeshState, facts: DnsFacts, settings: DnsSettings): DnsDecision {
  const { client, name, type, random } = facts;
  if (type !== types.A && type !== types.AAAA) return { kind: "pass", because: "type" };
  if (name === undefined) return { kind: "pass", because: "name" };
  const found = findOwner(mesh, name, client, settings);
  if (found === undefined) return { kind: "pass", because: "name" };
  const { service, candidate, isWildcard } = found;
  const records = recordsOf(mesh, service, client);
  // A headless service without endpoints: its cluster may know more of it than we do.
  if (records.length === 0) return { kind: "pass", because: "records" };
  const addresses = mayBeTold(service, client, type, settings) ? records.filter((one) => isOfType(one, type)) : [];
  const canonical = candidate.isStripped && !isWildcard ? { canonical: candidate.written } : {};
  return { kind: "answer", addresses: shuffled(addresses, random), service, ...canonical };
}

interface Owner {
  readonly service: MeshService;
  readonly candidate: Candidate;
  readonly isWildcard: boolean;
}

function findOwner(mesh: MeshState, name: string, client: MeshWorkload, settings: DnsSettings): Owner | undefined {
  const { clusterDomain } = settings;
  for (const candidate of candidateNames(name, client.namespace, clusterDomain)) {
    // `db-0.db.shop.svc.cluster.local` is a pod's name below a service that we know: what is left of it without its end is not what was meant.
    if (candidate.isStripped && isBelowService(mesh, name, settings)) return undefined;
    const exact = ownerOf(mesh, candidate.hostname, client, settings);
    if (exact !== undefined) return { service: exact, candidate, isWildcard: false };
    for (const hostname of wildcardsOf(candidate.hostname, clusterDomain)) {
      const service = ownerOf(mesh, hostname, client, settings);
      if (service !== undefined) return { service, candidate, isWildcard: true };
    }
  }
  return undefined;
}

/** Of the services of that name that have something to tell this client: its own namespace's, the canonical, the preferred, the smaller key. */
function ownerOf(
  mesh: MeshState,
  hostname: string,
  client: MeshWorkload,
  settings: DnsSettings,
): MeshService | undefined {
  let best: MeshService | undefined;
  let bestRank = -1;
  for (const service of mesh.servicesByHostname(hostname)) {
    const isOwn = service.namespace === client.namespace;
    if (service.visibility === "namespace" && !isOwn) continue;
    if (!hasVip(service, client.network) && !isHeadless(service, settings)) continue;
    const rank = isOwn ? 3 : service.canonical ? 2 : service.namespace === settings.preferredNamespace ? 1 : 0;
    if (rank < bestRank || (rank === bestRank && best !== undefined && service.key > best.key)) continue;
    best = service;
    bestRank = rank;
  }
  return best;
}

function isBelowService(mesh: MeshState, name: string, { clusterDomain }: DnsSettings): boolean {
  const [, parent] = /^[^.]+\.(.+)$/.exec(name) ?? [];
  if (parent === undefined || !parent.endsWith(`.svc.${clusterDomain}`)) return false;
  return !mesh.servicesByHostname(parent)[Symbol.iterator]().next().done;
}

function hasVip(service: MeshService, network: string): boolean {
  return service.vips.some((vip) => vip.network === network);
}

/**
 * A Service of the cluster without any virtual address. One from elsewhere (a ServiceEntry) that has none is not headless: whoever gave it its name
 * answers for it.
 */
function isHeadless(service: MeshService, { clusterDomain }: DnsSettings): boolean {
  const hasNone = service.vips.length === 0 && service.cidrVips.length === 0;
  return hasNone && service.hostname.endsWith(`.svc.${clusterDomain}`);
}

/** All addresses of both families that the name stands for on the client's network. */
function recordsOf(mesh: MeshState, service: MeshService, client: MeshWorkload): readonly string[] {
  const vips = service.vips.filter(({ network }) => network === client.network).map(({ address }) => address);
  if (vips.length > 0) return vips;
  const addresses: string[] = [];
  for (const endpoint of mesh.endpoints(service).values()) {
    if (endpoint.network !== client.network) continue;
    // One of each family for each endpoint.
    const ipv4 = endpoint.addresses.find((address) => !isIpv6(address));
    const ipv6 = endpoint.addresses.find(isIpv6);
    if (ipv4 !== undefined) addresses.push(ipv4);
    if (ipv6 !== undefined) addresses.push(ipv6);
  }
  return addresses;
}

/** An address of a family that the service does not speak, or that the client itself has none of, would only be tried in vain. */
function mayBeTold(service: MeshService, client: MeshWorkload, type: number, settings: DnsSettings): boolean {
  const wanted = type === types.AAAA ? "ipv6" : "ipv4";
  if (wanted === "ipv6" && !settings.ipv6) return false;
  if ((service.ipFamilies === "ipv4" || service.ipFamilies === "ipv6") && service.ipFamilies !== wanted) return false;
  return client.addresses.length === 0 || client.addresses.some((address) => isOfType(address, type));
}

function isOfType(address: string, type: number): boolean {
  return isIpv6(address) === (type === types.AAAA);
}

function isIpv6(address: string): boolean {
  return address.includes(":");
}

/** Fisher and Yates. */
function shuffled(addresses: readonly string[], random: Random): readonly string[] {
  if (addresses.length < 2) return addresses;
  const order = [...addresses];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j] ?? "", order[i] ?? ""];
  }
  return order;
}
