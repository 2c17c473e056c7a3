/** What a workload tells its peers about itself, for their telemetry (agent-wire 2.1). */
import type { Baggage } from "../../core/protocol/hbone/baggage.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

/** One object for each record of control's. */
export function baggageOf(workload: MeshWorkload): Baggage {
  const known = told.get(workload);
  if (known !== undefined) return known;
  const baggage = describe(workload);
  told.set(workload, baggage);
  return baggage;
}

function describe(workload: MeshWorkload): Baggage {
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
}

const told = new WeakMap<MeshWorkload, Baggage>();
