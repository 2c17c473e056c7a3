/**
 * The mesh as the main thread keeps it: decodes what control sends, refuses what can't be understood resource by resource, and
 * cuts the rest into slices for the workers. Feeds a new worker from the beginning, and the admin dump.
 */
import { MeshState, type MeshUpdate } from "../core/decision/mesh-state.ts";
import { addressType, decodeAddress } from "../core/protocol/wds/address.ts";
import { authorizationType, decodeAuthorization, failClosed, type Policy } from "../core/protocol/wds/authorization.ts";
import type { MeshService } from "../core/protocol/wds/service.ts";
import { WdsError } from "../core/protocol/wds/wds-error.ts";
import type { MeshWorkload } from "../core/protocol/wds/workload.ts";
import type { DeltaUpdate, Rejection } from "../core/protocol/xds/delta-client.ts";

export interface Intake {
  /** In order; each small enough to be applied in about a millisecond. */
  readonly slices: readonly MeshUpdate[];
  readonly rejected: readonly Rejection[];
}

export class MeshInventory {
  /** Indexed as the workers have it. */
  readonly state = new MeshState();
  readonly #policies = new Map<string, Policy>();
  /** Bytes of what is in force, by type URL and name: for whoever wants to decide as we do. */
  readonly #held = new Map<string, Map<string, Uint8Array>>();

  /** Takes an update in. What is refused leaves its last good version in force; a name that is removed goes. */
  take(update: DeltaUpdate): Intake {
    const intake = update.typeUrl === authorizationType ? this.#takePolicies(update) : this.#takeAddresses(update);
    for (const slice of intake.slices) this.state.apply(slice);
    this.#keep(update, new Set(intake.rejected.map(({ name }) => name)));
    return intake;
  }

  /** Every resource in force as it came: type URL → name and base64. A policy that never was good is there as it is. */
  held(): Readonly<Record<string, readonly { readonly name: string; readonly base64: string }[]>> {
    const byType = [...this.#held].map(([typeUrl, resources]) => {
      const rows = [...resources].map(([name, bytes]) => ({ name, base64: Buffer.from(bytes).toString("base64") }));
      return [typeUrl, rows] as const;
    });
    return Object.fromEntries(byType);
  }

  policies(): IterableIterator<Policy> {
    return this.#policies.values();
  }

  /** Everything, policies before the workloads that need them. */
  snapshot(): MeshUpdate[] {
    return [
      ...sliced([...this.#policies.values()], (policies) => ({ policies })),
      ...sliced([...this.state.services()], (services) => ({ services })),
      ...sliced([...this.state.workloads()], (workloads) => ({ workloads })),
    ];
  }

  #keep(update: DeltaUpdate, rejected: ReadonlySet<string>): void {
    const held = this.#held.get(update.typeUrl) ?? new Map<string, Uint8Array>();
    this.#held.set(update.typeUrl, held);
    for (const name of update.removed) held.delete(name);
    for (const { name, bytes } of update.resources) {
      // A refused one leaves its last good version. The copy lets go of the message it came in.
      if (!rejected.has(name) || !held.has(name)) held.set(name, bytes.slice());
    }
  }

  #takePolicies(update: DeltaUpdate): Intake {
    const policies: Policy[] = [];
    const rejected: Rejection[] = [];
    for (const { name, bytes } of update.resources) {
      const policy = decodeAuthorization(bytes, name);
      if (!(policy instanceof WdsError)) {
        policies.push(policy);
        continue;
      }
      rejected.push({ name, reason: policy.message });
      // What never was good: a DENY denies all it selects, an ALLOW matches nothing.
      const closed = this.#policies.has(name) ? undefined : failClosed(bytes);
      if (closed?.key === name) policies.push(closed);
    }
    for (const key of update.removed) this.#policies.delete(key);
    for (const policy of policies) this.#policies.set(policy.key, policy);
    const removals = sliced(update.removed, (removed) => ({ removed: { policies: removed } }));
    return { slices: [...removals, ...sliced(policies, (some) => ({ policies: some }))], rejected };
  }

  #takeAddresses(update: DeltaUpdate): Intake {
    const workloads: MeshWorkload[] = [];
    const services: MeshService[] = [];
    const rejected: Rejection[] = [];
    if (update.typeUrl === addressType) {
      for (const { name, bytes } of update.resources) {
        const address = decodeAddress(bytes, name);
        if (address instanceof WdsError) rejected.push({ name, reason: address.message });
        else if (address.kind === "workload") workloads.push(address.workload);
        else services.push(address.service);
      }
    }
    const removed = update.typeUrl === addressType ? update.removed : [];
    const slices = [
      ...sliced(removed, (addresses) => ({ removed: { addresses } })),
      ...sliced(services, (some) => ({ services: some })),
      ...sliced(workloads, (some) => ({ workloads: some })),
    ];
    return { slices, rejected };
  }
}

function sliced<T>(items: readonly T[], toUpdate: (some: readonly T[]) => MeshUpdate): MeshUpdate[] {
  const slices: MeshUpdate[] = [];
  for (let at = 0; at < items.length; at += perSlice) slices.push(toUpdate(items.slice(at, at + perSlice)));
  return slices;
}

/** About a millisecond of a worker's time, receiving it included. */
const perSlice = 50;
