/**
 * Which waypoint an object asks for, and whether it gets it. An object's own label beats its namespace's, and there is
 * no falling back from the one to the other: a label that cannot be followed is reported.
 */
import type { GatewayAddress } from "../../../core/protocol/generated/workload.ts";
import { selectorMatches, type Condition, type Labels, type ObjectMeta } from "../../sources/objects.ts";
import type { Reader } from "./collections.ts";
import type { Inputs } from "./inputs.ts";
import { networkAddress } from "./resources.ts";
import { waypointBound } from "./status.ts";
import type { Waypoint } from "./waypoints.ts";

export type Binding =
  | { readonly kind: "unbound" }
  | { readonly kind: "bound"; readonly waypoint: Waypoint }
  | { readonly kind: "refused"; readonly reason: BindingProblem; readonly message: string };

export const unbound: Binding = { kind: "unbound" };

export type BindingProblem = "WaypointIsNotReady" | "AttachmentDenied" | "UnsupportedTrafficType";

/** @param traffic how the object is addressed: decides which waypoints can serve it (label istio.io/waypoint-for). */
export function bindingOf(reader: Reader, inputs: Inputs, meta: ObjectMeta, traffic: "service" | "workload"): Binding {
  if (isGateway(meta.labels)) return unbound;
  const namespace = inputs.namespace(reader, meta.namespace);
  const ownLabel = meta.labels[useWaypoint];
  const labels = ownLabel === undefined ? namespace.labels : meta.labels;
  const name = labels[useWaypoint];
  if (name === undefined || name === "none") return unbound;

  const waypointNamespace = labels["istio.io/use-waypoint-namespace"] ?? meta.namespace;
  const key = `${waypointNamespace}/${name}`;
  const waypoint = inputs.waypoints.get(reader, key);
  if (waypoint === undefined)
    return refused(
      "WaypointIsNotReady",
      `waypoint ${key} does not exist, has no address yet, or has no HBONE listener`,
    );
  if (!isAllowed(waypoint, meta.namespace, namespace.labels))
    return refused("AttachmentDenied", `waypoint ${key} does not allow objects of namespace ${meta.namespace}`);
  if (waypoint.trafficType === traffic || waypoint.trafficType === "all") return { kind: "bound", waypoint };
  // A namespace names one waypoint for all that is in it: workloads are silently not meant.
  if (traffic === "workload" && ownLabel === undefined) return unbound;
  return refused(
    "UnsupportedTrafficType",
    `waypoint ${key} is for ${waypoint.trafficType} traffic, not for ${traffic}`,
  );
}

/** The waypoint as an agent is told of it, or undefined. */
export function waypointAddress(reader: Reader, inputs: Inputs, binding: Binding): GatewayAddress | undefined {
  if (binding.kind !== "bound") return undefined;
  const { namespace, address, port } = binding.waypoint;
  return {
    destination:
      address.kind === "hostname"
        ? { $case: "hostname", value: { namespace, hostname: address.value } }
        : { $case: "address", value: networkAddress(inputs.network(reader), address.value) },
    hboneMtlsPort: port,
  };
}

/** What a binding says on the object's status; nothing where nobody asked for a waypoint. */
export function bindingConditions(binding: Binding): Condition[] {
  const type = waypointBound;
  switch (binding.kind) {
    case "unbound":
      return [];
    case "bound": {
      const { namespace, name } = binding.waypoint;
      return [{ type, status: "True", reason: "WaypointAccepted", message: `bound to waypoint ${namespace}/${name}` }];
    }
    case "refused":
      return [{ type, status: "False", reason: binding.reason, message: binding.message }];
  }
}

/** Gateways are not sent through gateways. */
function isGateway(labels: Labels): boolean {
  return managedGateways.includes(labels["gateway.istio.io/managed"] ?? "");
}

function isAllowed(waypoint: Waypoint, namespace: string, namespaceLabels: Labels): boolean {
  switch (waypoint.allowed.from) {
    case "Same":
      return waypoint.namespace === namespace;
    case "All":
      return true;
    case "Selector":
      return selectorMatches(waypoint.allowed.selector, namespaceLabels);
    default:
      return false;
  }
}

function refused(reason: BindingProblem, message: string): Binding {
  return { kind: "refused", reason, message };
}

const useWaypoint = "istio.io/use-waypoint";
const managedGateways = ["istio.io-mesh-controller", "istio.io-eastwest-controller"];
