/** Which service a connection to a pod was probably meant for: for telemetry alone (agent-wire 9.1). */
import type { MeshState } from "../../core/decision/mesh-state.ts";
import type { MeshService } from "../../core/protocol/wds/service.ts";
import type { MeshWorkload } from "../../core/protocol/wds/workload.ts";

/**
 * The service that the client says it asked for, if the pod is behind it; else the first of the pod's services that leads to this port.
 * @param port of the pod. @param claimed hostname that came with the request.
 */
export function probableService(
  state: MeshState,
  local: MeshWorkload,
  port: number,
  claimed?: string,
): MeshService | undefined {
  const named = claimed === undefined ? undefined : state.serviceByHostname(claimed, local.namespace);
  if (named !== undefined && local.services.has(named.key)) return named;
  for (const [key, mappings] of local.services) {
    if (mappings.some(({ targetPort }) => targetPort === port)) return state.service(key);
  }
  return undefined;
}
