/** Which endpoint of a service a connection goes to (agent-wire 1.8): health, port, locality, then chance by capacity. */
import type { Random } from "../base/random.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { CloseCode } from "./close-reasons.ts";
import { eligibleOf, type Eligible } from "./eligible.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";

export interface EndpointQuery {
  readonly source: MeshWorkload;
  readonly service: MeshService;
  readonly servicePort: number;
  /** A waypoint may take HBONE on a port its service does not declare, when its pods have an application tunnel. */
  readonly purpose: "service" | "waypoint";
  readonly random: Random;
  /** Uids not to be chosen: they have just failed. */
  readonly exclude?: ReadonlySet<string>;
}

/** An endpoint and the port to reach it on, or why there is none. */
export type EndpointChoice =
  | { readonly kind: "endpoint"; readonly workload: MeshWorkload; readonly port: number }
  | { readonly kind: "none"; readonly reason: Extract<CloseCode, "NO_SERVICE_PORT" | "NO_HEALTHY_UPSTREAM"> };

/** @param trace gets the counts and the choice appended. */
export function chooseEndpoint(state: MeshState, query: EndpointQuery, trace: TraceStep[]): EndpointChoice {
  const { service, servicePort } = query;
  const isDeclared = service.ports.some((mapping) => mapping.servicePort === servicePort);
  if (!isDeclared && query.purpose === "service") {
    trace.push({ code: "port-not-declared", service: service.key, port: servicePort });
    return { kind: "none", reason: "NO_SERVICE_PORT" };
  }
  const view = state.endpointView(service);
  const eligible = eligibleOf(view, query);
  const { usable, portless, workloads, ports } = eligible;
  trace.push({
    code: "endpoints-considered",
    service: service.key,
    known: state.endpointCount(service.key),
    healthy: view.workloads.size,
    usable,
    nearest: workloads.length,
  });
  const at = drawByCapacity(eligible, query.random);
  const [workload, port] = [workloads[at], ports[at]];
  if (workload === undefined || port === undefined) {
    return { kind: "none", reason: usable === 0 && portless > 0 ? "NO_SERVICE_PORT" : "NO_HEALTHY_UPSTREAM" };
  }
  trace.push({ code: "endpoint-chosen", service: service.key, workload: workload.uid, port });
  return { kind: "endpoint", workload, port };
}

/** The first whose sum is beyond the draw: each as likely as its capacity. */
function drawByCapacity({ sums }: Eligible, random: Random): number {
  const draw = random() * (sums.at(-1) ?? 0);
  let [from, to] = [0, sums.length - 1];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((sums[middle] ?? 0) > draw) to = middle;
    else from = middle + 1;
  }
  return from;
}
