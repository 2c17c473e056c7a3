/**
 * The mesh as the main thread keeps it: the octets that control sent, name by name, and of what they say only as much as this thread
 * asks for. Refuses what can't be understood resource by resource and cuts the rest into slices for the workers; feeds a new worker
 * from the beginning, and the admin dump.
 */
import { MeshState } from "../core/decision/mesh-state.ts";
import { NameIndex } from "../core/decision/name-index.ts";
import { AddressReader } from "../core/protocol/wds/address-reader.ts";
import { addressType, type MeshAddress } from "../core/protocol/wds/address.ts";
import { authorizationType, decodeAuthorization, failClosed, type Policy } from "../core/protocol/wds/authorization.ts";
import { WdsError } from "../core/protocol/wds/wds-error.ts";
import type { MeshWorkload } from "../core/protocol/wds/workload.ts";
import type { DeltaResource, DeltaUpdate, Rejection } from "../core/protocol/xds/delta-client.ts";
import { firstOctetOf } from "../core/protocol/xds/response-reader.ts";
import { heaviestSlice, policyInForce, SliceCutter, SliceReader, type MeshSlice } from "./mesh-slice.ts";
import { SharedOctets, type StoredResource } from "./shared-octets.ts";

export interface Intake {
  /** In order; each small enough to be applied within a turn. */
  readonly slices: readonly MeshSlice[];
  readonly rejected: readonly Rejection[];
}

export class MeshInventory {
  readonly #node: string | undefined;
  readonly #octets = new SharedOctets();
  readonly #reader = new AddressReader();
  /** What is in force, by name. */
  readonly #workloads = new Map<string, StoredResource>();
  readonly #services = new Map<string, StoredResource>();
  readonly #policies = new Map<string, StoredResource>();
  readonly #names = new NameIndex<StoredResource>((stored) => stored.name);
  /** The workloads of this node, decoded. */
  readonly #local = new Map<string, MeshWorkload>();
  #policiesComplete = false;

  /** @param node whose workloads `local` tells of. */
  constructor(node?: string) {
    this.#node = node;
  }

  /** Takes an update in. What is refused leaves its last good version in force; a name that is removed goes. */
  take(update: DeltaUpdate): Intake {
    const slices: MeshSlice[] = [];
    const pieces = this.takeInPieces(update);
    for (;;) {
      const next = pieces.next();
      if (next.done === true) return { slices, rejected: next.value };
      if (next.value !== undefined) slices.push(next.value);
    }
  }

  /**
   * The same a slice at a time, for whoever has other things to do in between, or undefined after as much work that came to nothing;
   * to be carried through to its end before another update is begun. Of addresses services come first, so that nobody who means one meets
   * its workloads without it, and removals last: what takes the place of something is there before that goes.
   */
  takeInPieces(update: DeltaUpdate): Generator<MeshSlice | undefined, readonly Rejection[]> {
    switch (update.typeUrl) {
      case addressType:
        return this.#takeAddresses(update);
      case authorizationType:
        return this.#takePolicies(update);
    }
    return nothing();
  }

  /** Every policy of the beginning has been taken in. @returns what workers must hear after them; undefined if they have. */
  completePolicies(): MeshSlice | undefined {
    if (this.#policiesComplete) return undefined;
    this.#policiesComplete = true;
    return policiesComplete;
  }

  /** Every resource in force as it came: type URL → name and base64. A policy that never was good is there as it is. */
  held(): Readonly<Record<string, readonly { readonly name: string; readonly base64: string }[]>> {
    return {
      [addressType]: [...rowsOf(this.#services), ...rowsOf(this.#workloads)],
      [authorizationType]: [...rowsOf(this.#policies)],
    };
  }

  *policies(): Generator<Policy> {
    for (const { bytes } of this.#policies.values()) {
      const policy = policyInForce(bytes);
      if (policy !== undefined) yield policy;
    }
  }

  *workloads(): Generator<MeshWorkload> {
    for (const stored of this.#workloads.values()) {
      const workload = this.#decoded(stored);
      if (workload !== undefined) yield workload;
    }
  }

  /** The workloads of this node. */
  local(): Iterable<MeshWorkload> {
    return this.#local.values();
  }

  /** The workload that a pod of this name is; of several (one name in two clusters) the smallest uid. */
  workloadOf(namespace: string, name: string, serviceAccount: string): MeshWorkload | undefined {
    let found: MeshWorkload | undefined;
    for (const stored of this.#names.of(namespace, name)) {
      const workload = this.#decoded(stored);
      if (workload?.serviceAccount !== serviceAccount) continue;
      if (found === undefined || workload.uid < found.uid) found = workload;
    }
    return found;
  }

  /** Indexed as the workers have it: made anew each time, for whoever wants to see all of it. */
  get state(): MeshState {
    const state = new MeshState();
    const reader = new SliceReader();
    for (const slice of this.snapshot()) state.apply(reader.updateOf(slice));
    return state;
  }

  /** Everything, policies before the workloads that need them. */
  snapshot(): MeshSlice[] {
    const cutter = new SliceCutter();
    const slices = [
      ...[...this.#policies.values()].map((stored) => cutter.add("policy", stored)),
      ...[...this.#services.values()].map((stored) => cutter.add("service", stored)),
      ...[...this.#workloads.values()].map((stored) => cutter.add("workload", stored)),
      cutter.rest(),
      this.#policiesComplete ? policiesComplete : undefined,
    ];
    return slices.filter((slice) => slice !== undefined);
  }

  *#takeAddresses({ resources, removed }: DeltaUpdate): Generator<MeshSlice | undefined, readonly Rejection[]> {
    const cutter = new SliceCutter();
    let inVain = 0;
    const rejected: Rejection[] = [];
    const gone = new Set(removed);
    for (const kind of ["service", "workload"] as const) {
      for (const resource of resources) {
        if ((firstOctetOf(resource) === serviceTag) !== (kind === "service")) continue;
        const { bytes } = resource;
        const address = this.#read(resource.name, bytes);
        if (address instanceof WdsError) {
          rejected.push({ name: resource.name, reason: address.message });
          continue;
        }
        // Sent anew it stays, unless it was a name of the other kind.
        if (gone.size > 0 && gone.delete(resource.name) && !this.#heldOf(address.kind).has(resource.name)) {
          const full = this.#removeAddress(cutter, resource.name);
          if (full !== undefined) yield full;
        }
        if (this.#isKnown(resource.name, address, bytes)) {
          if (++inVain % heaviestSlice === 0) yield undefined;
          continue;
        }
        const full = cutter.add(address.kind, this.#keep(resource.name, address, bytes));
        if (full !== undefined) yield full;
      }
    }
    for (const name of gone) {
      const full = this.#removeAddress(cutter, name);
      if (full !== undefined) yield full;
    }
    const rest = cutter.rest();
    if (rest !== undefined) yield rest;
    return rejected;
  }

  /**
   * Said again, as a control plane does that sends everything anew: workers need not hear of it. But that a workload still lists a policy
   * they want to hear, as one that was withdrawn since may be meant again.
   */
  #isKnown(name: string, address: MeshAddress, bytes: Uint8Array): boolean {
    if (address.kind === "workload" && address.workload.policies.length > 0) return false;
    return this.#heldOf(address.kind).get(name)?.bytes.equals(bytes) === true;
  }

  #removeAddress(cutter: SliceCutter, name: string): MeshSlice | undefined {
    this.#dropWorkload(name);
    this.#drop(this.#services, name);
    return cutter.removeAddress(name);
  }

  #heldOf(kind: MeshAddress["kind"]): Map<string, StoredResource> {
    return kind === "service" ? this.#services : this.#workloads;
  }

  /**
   * In an order in which nobody is let in whom neither what was nor what will be lets in, also where it takes several slices: what denies
   * comes before what allows, and goes after it; what goes, goes last.
   */
  *#takePolicies({ resources, removed }: DeltaUpdate): Generator<MeshSlice, readonly Rejection[]> {
    const cutter = new SliceCutter();
    const rejected: Rejection[] = [];
    const sent = new Set(resources.map(({ name }) => name));
    for (const name of removed) {
      if (!sent.has(name)) continue;
      const full = this.#removePolicy(cutter, name);
      if (full !== undefined) yield full;
    }
    // Of a name that comes twice the last one counts: then all stay where they are.
    for (const { name, bytes } of this.#judged(resources, sent.size === resources.length, rejected)) {
      const full = cutter.add("policy", this.#put(this.#policies, name, bytes));
      if (full !== undefined) yield full;
    }
    const gone = removed.filter((name) => !sent.has(name)).map((name) => ({ name, action: this.#actionOf(name) }));
    const [allowing, denying] = [
      gone.filter(({ action }) => action === "allow"),
      gone.filter(({ action }) => action !== "allow"),
    ];
    for (const { name } of [...allowing, ...denying]) {
      const full = this.#removePolicy(cutter, name);
      if (full !== undefined) yield full;
    }
    const rest = cutter.rest();
    if (rest !== undefined) yield rest;
    return rejected;
  }

  /** Those that are to be in force. @param allowsLast good ALLOW policies after all others. @param rejected gets those that are not good. */
  *#judged(
    resources: readonly DeltaResource[],
    allowsLast: boolean,
    rejected: Rejection[],
  ): Generator<DeltaResource, void> {
    const allows: DeltaResource[] = [];
    for (const resource of resources) {
      const { name, bytes } = resource;
      const policy = decodeAuthorization(bytes, name);
      if (policy instanceof WdsError) {
        rejected.push({ name, reason: policy.message });
        // What never was good: a DENY denies all it selects, an ALLOW matches nothing.
        if (!this.#hasGood(name) && failClosed(bytes)?.key === name) yield resource;
      } else if (allowsLast && policy.action === "allow") allows.push(resource);
      else yield resource;
    }
    yield* allows;
  }

  /** Whether what is in force under that name was understood, and did not come there by failing closed. */
  #hasGood(name: string): boolean {
    const stored = this.#policies.get(name);
    return stored !== undefined && !(decodeAuthorization(stored.bytes, name) instanceof WdsError);
  }

  #removePolicy(cutter: SliceCutter, name: string): MeshSlice | undefined {
    this.#drop(this.#policies, name);
    return cutter.removePolicy(name);
  }

  #actionOf(name: string): Policy["action"] | undefined {
    const stored = this.#policies.get(name);
    return stored && policyInForce(stored.bytes)?.action;
  }

  #keep(uid: string, address: MeshAddress, bytes: Uint8Array): StoredResource {
    if (address.kind === "service") return this.#put(this.#services, uid, bytes);
    const { workload } = address;
    const { namespace, name } = workload;
    const before = this.#workloads.get(uid);
    // What it was called before is looked up only where it was called something else.
    if (before !== undefined && !this.#names.has(namespace, name, before)) this.#dropWorkload(uid);
    const stored = this.#put(this.#workloads, uid, bytes);
    if (stored !== before) this.#names.add(namespace, name, stored);
    this.#local.delete(uid);
    if (workload.node === this.#node) this.#local.set(uid, workload);
    return stored;
  }

  #dropWorkload(uid: string): void {
    const stored = this.#workloads.get(uid);
    const workload = stored && this.#decoded(stored);
    if (workload === undefined) return;
    this.#names.remove(workload.namespace, workload.name, uid);
    this.#local.delete(uid);
    this.#drop(this.#workloads, uid);
  }

  #put(held: Map<string, StoredResource>, name: string, bytes: Uint8Array): StoredResource {
    const before = held.get(name);
    if (before !== undefined) {
      this.#octets.replace(before, bytes);
      return before;
    }
    const stored = this.#octets.put(name, bytes);
    held.set(name, stored);
    return stored;
  }

  #drop(held: Map<string, StoredResource>, name: string): void {
    const stored = held.get(name);
    if (stored === undefined) return;
    held.delete(name);
    this.#octets.drop(stored);
  }

  #decoded({ bytes }: StoredResource): MeshWorkload | undefined {
    const address = this.#reader.read(bytes, 0, bytes.length);
    return address instanceof WdsError || address.kind === "service" ? undefined : address.workload;
  }

  #read(name: string, bytes: Uint8Array): MeshAddress | WdsError {
    const octets = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    return this.#reader.read(octets, 0, octets.length, name);
  }
}

function* rowsOf(held: ReadonlyMap<string, StoredResource>): Generator<{ name: string; base64: string }> {
  for (const { name, bytes } of held.values()) yield { name, base64: bytes.toString("base64") };
}

/** A type that nobody asked for brings nothing. */
function* nothing(): Generator<never, readonly Rejection[]> {
  return [];
}

const policiesComplete: MeshSlice = { policiesComplete: true };
/** Address.service, field 2, as octets. */
const serviceTag = 0x12;
