/** A pod's status, as a kubelet would write it. Pure. */
import type { Pod } from "../control/sources/objects.ts";
import type { MergePatch } from "../control/sources/source.ts";
import type { PodRow, PodStage } from "./node-messages.ts";

export interface PodPlace {
  readonly uid: string;
  /** RFC 3339. */
  readonly created: string;
  readonly node: string;
  readonly hostIps: readonly string[];
  readonly addresses: readonly string[];
}

/** @param row what the node reports; undefined until the pod's network is there, and so long it has no addresses. */
export function podStatus(pod: Pod, place: PodPlace, row: PodRow | undefined): MergePatch {
  const condition = (type: string, holds: boolean): { type: string; status: string } => ({
    type,
    status: holds ? "True" : "False",
  });
  const initialized = row !== undefined && row.stage !== "networked" && row.stage !== "initializing";
  const addresses = row === undefined ? [] : place.addresses;
  return {
    metadata: { uid: place.uid, creationTimestamp: place.created },
    spec: { nodeName: place.node },
    status: {
      phase: row === undefined ? "Pending" : phases[row.stage],
      hostIP: place.hostIps[0],
      hostIPs: place.hostIps.map((ip) => ({ ip })),
      podIP: addresses[0] ?? null,
      podIPs: addresses.map((ip) => ({ ip })),
      conditions: [
        condition("PodScheduled", true),
        condition("Initialized", initialized),
        condition("ContainersReady", row?.ready === true),
        condition("Ready", row?.ready === true),
      ],
      containerStatuses: pod.spec.containers.map(({ name }) => ({
        name,
        ready: row?.ready === true,
        restartCount: row?.restarts ?? 0,
      })),
    },
  };
}

const phases: Readonly<Record<PodStage, string>> = {
  networked: "Pending",
  initializing: "Pending",
  running: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
};
