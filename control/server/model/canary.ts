/** A second waypoint that takes a share of a service's connections: declared beside the first, by the object or by its namespace. */
import type { WeightedWaypoint } from "../../../core/protocol/generated/workload.ts";
import type { ObjectMeta } from "../../sources/objects.ts";
import { availableWaypoint, gatewayAddress, serves, useWaypoint, type Binding } from "./bindings.ts";
import type { Reader } from "./collections.ts";
import type { Inputs } from "./inputs.ts";
import type { Waypoint } from "./waypoints.ts";

export type Canary =
  | { readonly kind: "none" }
  | { readonly kind: "split"; readonly waypoint: Waypoint; readonly percent: number }
  /** The first waypoint then takes everything. */
  | { readonly kind: "refused"; readonly reason: string; readonly message: string };

/** Of a service that is bound; a canary needs something to be the canary of. */
export function canaryOf(reader: Reader, inputs: Inputs, meta: ObjectMeta, binding: Binding): Canary {
  if (binding.kind !== "bound") return { kind: "none" };
  // At the level where the first one is named, and at no other.
  const namespace = inputs.namespace(reader, meta.namespace);
  const { labels, annotations } = meta.labels[useWaypoint] === undefined ? namespace : meta;
  const name = labels["istio.io/use-waypoint-canary"];
  if (name === undefined) return { kind: "none" };
  const wanted = { name, namespace: labels["istio.io/use-waypoint-canary-namespace"] ?? meta.namespace };
  const text = annotations["istio.io/use-waypoint-canary-weight"] ?? "0";
  if (!/^(?:\d{1,2}|100)$/.test(text))
    return refused("CanaryInvalidWeight", `its weight is "${text}", not a whole number from 0 to 100`);
  const { waypoint: primary } = binding;
  if (primary.name === wanted.name && primary.namespace === wanted.namespace)
    return refused("CanarySameAsPrimary", "it is the waypoint itself");
  const waypoint = availableWaypoint(reader, inputs, wanted, meta.namespace);
  if ("reason" in waypoint) return refused(waypoint.reason, waypoint.message);
  if (!serves(waypoint, "service"))
    return refused("UnsupportedTrafficType", `waypoint ${wanted.namespace}/${name} is not for service traffic`);
  return { kind: "split", waypoint, percent: Number(text) };
}

/** As agents are told: both, also where one of them gets nothing. Empty without a canary. */
export function weightedWaypoints(
  reader: Reader,
  inputs: Inputs,
  binding: Binding,
  canary: Canary,
): WeightedWaypoint[] {
  if (binding.kind !== "bound" || canary.kind !== "split") return [];
  return [
    { destination: gatewayAddress(reader, inputs, binding.waypoint), weight: 100 - canary.percent },
    { destination: gatewayAddress(reader, inputs, canary.waypoint), weight: canary.percent },
  ];
}

function refused(reason: string, message: string): Canary {
  return { kind: "refused", reason, message };
}
