/** Services that claim one address, prefix or hostname, so ordered that whom a client means is found without a look at the others (agent-wire 1.8). */
import { placeOf } from "../base/sorted.ts";
import type { MeshService } from "../protocol/wds/service.ts";

/** One service, as nearly always; or several. */
export type Claim = MeshService | RivalClaims;

export function claimedAlso(claim: Claim | undefined, service: MeshService): Claim {
  if (claim === undefined) return service;
  const rivals = claim instanceof RivalClaims ? claim : new RivalClaims(claim);
  rivals.add(service);
  return rivals;
}

/** @param service as it was claimed. Undefined when nobody is left. */
export function claimedNoMore(claim: Claim | undefined, service: MeshService): Claim | undefined {
  if (!(claim instanceof RivalClaims)) return claim?.key === service.key ? undefined : claim;
  return claim.remove(service) ? claim : undefined;
}

/** Of the client's own namespace: the canonical one, then the smaller key, so that the order of arrival decides nothing. */
export function ownClaim(claim: Claim, clientNamespace: string): MeshService | undefined {
  if (claim instanceof RivalClaims) return claim.ownOf(clientNamespace);
  return claim.namespace === clientNamespace ? claim : undefined;
}

/** Of any namespace, if it lets others see it: the canonical one, then the smaller key. */
export function publicClaim(claim: Claim): MeshService | undefined {
  if (claim instanceof RivalClaims) return claim.public;
  return claim.visibility === "public" ? claim : undefined;
}

export function allClaims(claim: Claim): Iterable<MeshService> {
  return claim instanceof RivalClaims ? claim.all() : [claim];
}

class RivalClaims {
  /** Each list with the preferred service first; none is empty. */
  readonly #ofNamespace = new Map<string, MeshService[]>();
  readonly #public: MeshService[] = [];

  constructor(service: MeshService) {
    this.add(service);
  }

  get public(): MeshService | undefined {
    return this.#public[0];
  }

  ownOf(namespace: string): MeshService | undefined {
    return this.#ofNamespace.get(namespace)?.[0];
  }

  *all(): Generator<MeshService> {
    for (const services of this.#ofNamespace.values()) yield* services;
  }

  add(service: MeshService): void {
    const own = this.#ofNamespace.get(service.namespace);
    if (own === undefined) this.#ofNamespace.set(service.namespace, [service]);
    else own.splice(placeOf(service, own, isPreferred), 0, service);
    if (service.visibility === "public") this.#public.splice(placeOf(service, this.#public, isPreferred), 0, service);
  }

  /** Whether anybody is left. */
  remove(service: MeshService): boolean {
    const own = this.#ofNamespace.get(service.namespace);
    if (own !== undefined) takeOut(service, own);
    if (own?.length === 0) this.#ofNamespace.delete(service.namespace);
    takeOut(service, this.#public);
    return this.#ofNamespace.size > 0;
  }
}

function takeOut(service: MeshService, list: MeshService[]): void {
  const place = placeOf(service, list, isPreferred);
  if (list[place]?.key === service.key) list.splice(place, 1);
}

function isPreferred(one: MeshService, other: MeshService): boolean {
  return one.canonical === other.canonical ? one.key < other.key : one.canonical;
}
