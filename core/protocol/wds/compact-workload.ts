/**
 * A workload of a large mesh: what it has in common with others of its kind is held once for all of them. Where only that changes, the
 * object stays: a full push then leaves no object behind for each of fifty thousand workloads, which the collector would stop for.
 */
import type { PortMapping } from "./fields.ts";
import type { GatewayRef } from "./gateway.ts";
import type { Locality, MeshWorkload, WorkloadKind } from "./workload.ts";

/** What the pods of one deployment share. */
export interface WorkloadTraits {
  readonly namespace: string;
  readonly network: string;
  readonly tunnel: MeshWorkload["tunnel"];
  readonly trustDomain: string;
  readonly serviceAccount: string;
  readonly waypoint: GatewayRef | undefined;
  readonly networkGateway: GatewayRef | undefined;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: WorkloadKind;
  readonly workloadName: string;
  readonly nativeTunnel: boolean;
  readonly policies: readonly string[];
  readonly clusterId: string;
  readonly hostname: string;
  readonly services: ReadonlyMap<string, readonly PortMapping[]>;
  readonly hostNetwork: boolean;
  readonly capacity: number;
}

/** What each has of its own. */
export type OwnFields = Pick<MeshWorkload, "uid" | "name" | "addresses" | "node" | "locality" | "healthy">;

export class CompactWorkload implements MeshWorkload {
  readonly uid: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly node: string;
  readonly locality: Locality;
  readonly healthy: boolean;
  #traits: WorkloadTraits;

  constructor({ uid, name, addresses, node, locality, healthy }: OwnFields, traits: WorkloadTraits) {
    this.uid = uid;
    this.name = name;
    this.addresses = addresses;
    this.node = node;
    this.locality = locality;
    this.healthy = healthy;
    this.#traits = traits;
  }

  /** Says from now on what `later` says, if that is of the same workload in the same place. @returns whether it does. */
  retell(later: CompactWorkload): boolean {
    const isSame =
      this.uid === later.uid &&
      this.name === later.name &&
      this.addresses === later.addresses &&
      this.node === later.node &&
      this.locality === later.locality &&
      this.healthy === later.healthy;
    if (isSame) this.#traits = later.#traits;
    return isSame;
  }

  /** Another object with everything else that is said of it: what was worked out from the workload counts as long as this is the same. */
  get word(): object {
    return this.#traits;
  }

  get namespace(): string {
    return this.#traits.namespace;
  }

  get network(): string {
    return this.#traits.network;
  }

  get tunnel(): MeshWorkload["tunnel"] {
    return this.#traits.tunnel;
  }

  get trustDomain(): string {
    return this.#traits.trustDomain;
  }

  get serviceAccount(): string {
    return this.#traits.serviceAccount;
  }

  get waypoint(): GatewayRef | undefined {
    return this.#traits.waypoint;
  }

  get networkGateway(): GatewayRef | undefined {
    return this.#traits.networkGateway;
  }

  get canonicalName(): string {
    return this.#traits.canonicalName;
  }

  get canonicalRevision(): string {
    return this.#traits.canonicalRevision;
  }

  get workloadType(): WorkloadKind {
    return this.#traits.workloadType;
  }

  get workloadName(): string {
    return this.#traits.workloadName;
  }

  get nativeTunnel(): boolean {
    return this.#traits.nativeTunnel;
  }

  get policies(): readonly string[] {
    return this.#traits.policies;
  }

  get clusterId(): string {
    return this.#traits.clusterId;
  }

  get hostname(): string {
    return this.#traits.hostname;
  }

  get services(): ReadonlyMap<string, readonly PortMapping[]> {
    return this.#traits.services;
  }

  get hostNetwork(): boolean {
    return this.#traits.hostNetwork;
  }

  get capacity(): number {
    return this.#traits.capacity;
  }
}

/** @see CompactWorkload.word: any other workload is another object itself where anything changes. */
export function wordOf(object: object): object {
  return object instanceof CompactWorkload ? object.word : object;
}

/** Lists and maps are compared as objects: who reads them shares them. */
export function isSameTraits(one: WorkloadTraits, other: WorkloadTraits): boolean {
  return (
    one.namespace === other.namespace &&
    one.services === other.services &&
    one.policies === other.policies &&
    one.serviceAccount === other.serviceAccount &&
    one.workloadName === other.workloadName &&
    one.canonicalName === other.canonicalName &&
    one.canonicalRevision === other.canonicalRevision &&
    one.waypoint === other.waypoint &&
    one.networkGateway === other.networkGateway &&
    one.hostname === other.hostname &&
    one.network === other.network &&
    one.clusterId === other.clusterId &&
    one.trustDomain === other.trustDomain &&
    one.tunnel === other.tunnel &&
    one.workloadType === other.workloadType &&
    one.nativeTunnel === other.nativeTunnel &&
    one.hostNetwork === other.hostNetwork &&
    one.capacity === other.capacity
  );
}
