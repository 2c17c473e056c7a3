/** What a workload tells its peers about itself, for their telemetry (agent-wire 2.1). */
import { oncePerWord } from "../../core/base/memo.ts";
import type { Baggage } from "../../core/protocol/hbone/baggage.ts";
import { wordOf } from "../../core/protocol/wds/compact-workload.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

/** One object for each word of control's. */
export const baggageOf = oncePerWord((workload: MeshWorkload): Baggage => {
  const { locality } = workload;
  return {
    clusterName: workload.clusterId,
    namespace: workload.namespace,
    workload: { kind: workload.workloadType, name: workload.workloadName },
    serviceName: workload.canonicalName,
    serviceVersion: workload.canonicalRevision,
    region: locality.region,
    zone: locality.zone,
  };
}, wordOf);

/** For whoever tells nothing. */
export const noBaggage: Baggage = {};
