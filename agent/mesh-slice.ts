/**
 * A piece of the mesh on its way to the workers: so much that a worker takes it in within a fraction of a millisecond. What
 * control sent goes as it came, in buffers that the threads share; who takes it in decodes it.
 */
import type { MeshUpdate } from "../core/decision/mesh-state.ts";
import { AddressReader, type KnownWorkloads } from "../core/protocol/wds/address-reader.ts";
import { decodeAuthorization, failClosed, type Policy } from "../core/protocol/wds/authorization.ts";
import type { MeshService } from "../core/protocol/wds/service.ts";
import { WdsError } from "../core/protocol/wds/wds-error.ts";
import type { MeshWorkload } from "../core/protocol/wds/workload.ts";
import type { StoredResource } from "./shared-octets.ts";

/** What an update says as objects, and what it says as octets. Applied as one. */
export interface MeshSlice extends MeshUpdate {
  readonly packed?: readonly PackedResources[];
}

/** Resources of one buffer that were found good. */
export interface PackedResources {
  readonly kind: "addresses" | "policies";
  readonly octets: SharedArrayBuffer;
  /** Where the length of each stands, in four octets; then it follows itself. */
  readonly at: readonly number[];
}

/** What a slice costs who applies it, in workloads: some five microseconds each. */
export const weights = { removal: 1, workload: 1, service: 4, policy: 4 } as const;
export const heaviestSlice = 50;

/** Collects the slices of an update, in order. What is light enough goes together, and is then seen at once or not at all. */
export class SliceCutter {
  #hasCut = false;
  #removedAddresses: string[] = [];
  #removedPolicies: string[] = [];
  #packed: { kind: PackedResources["kind"]; octets: SharedArrayBuffer; at: number[] }[] = [];
  #weight = 0;

  /** Each of these returns a slice when one is full. */
  removeAddress(name: string): MeshSlice | undefined {
    this.#removedAddresses.push(name);
    return this.#weigh(weights.removal);
  }

  removePolicy(name: string): MeshSlice | undefined {
    this.#removedPolicies.push(name);
    return this.#weigh(weights.removal);
  }

  add(kind: "workload" | "service" | "policy", { octets, at }: StoredResource): MeshSlice | undefined {
    const into = kind === "policy" ? "policies" : "addresses";
    const last = this.#packed.at(-1);
    if (last?.kind === into && last.octets === octets) last.at.push(at);
    else this.#packed.push({ kind: into, octets, at: [at] });
    return this.#weigh(weights[kind]);
  }

  /** The last: what is left. It may be nothing, where others said that it follows. */
  rest(): MeshSlice | undefined {
    return this.#weight > 0 || this.#hasCut ? this.#cut() : undefined;
  }

  #weigh(weight: number): MeshSlice | undefined {
    this.#weight += weight;
    if (this.#weight < heaviestSlice) return undefined;
    this.#hasCut = true;
    return { ...this.#cut(), isUnfinished: true };
  }

  #cut(): MeshSlice {
    const addresses = this.#removedAddresses;
    const policies = this.#removedPolicies;
    const packed = this.#packed;
    [this.#removedAddresses, this.#removedPolicies, this.#packed, this.#weight] = [[], [], [], 0];
    return { removed: { addresses, policies }, packed };
  }
}

/** Decodes slices, one after the other. */
export class SliceReader {
  readonly #addresses: AddressReader;

  /** @param known what the state that they go to holds already. */
  constructor(known?: KnownWorkloads) {
    this.#addresses = new AddressReader(known);
  }

  updateOf(slice: MeshSlice): MeshUpdate {
    const { packed, ...update } = slice;
    if (packed === undefined || packed.length === 0) return update;
    const workloads: MeshWorkload[] = [];
    const services: MeshService[] = [];
    const policies: Policy[] = [];
    for (const { kind, octets, at } of packed) {
      const view = Buffer.from(octets);
      for (const place of at) {
        const from = place + 4;
        const to = from + view.readUInt32BE(place);
        if (kind === "policies") {
          const policy = policyInForce(view.subarray(from, to));
          if (policy !== undefined) policies.push(policy);
          continue;
        }
        const address = this.#addresses.read(view, from, to);
        // It was looked at before it was sent.
        if (address instanceof WdsError) continue;
        if (address.kind === "workload") workloads.push(address.workload);
        else services.push(address.service);
      }
    }
    return { ...update, workloads, services, policies };
  }
}

/** What a policy's octets mean: where they cannot be understood, what is safe. */
export function policyInForce(bytes: Uint8Array): Policy | undefined {
  const policy = decodeAuthorization(bytes);
  return policy instanceof WdsError ? failClosed(bytes) : policy;
}
