/**
 * Which waypoint an object asks for, and whether it gets it. An object's own label beats its service account's, that its
 * namespace's, and there is no falling back from the one to the other: a label that cannot be followed is reported.
 */
import type { Extension, GatewayAddress } from "../../../core/protocol/generated/workload.ts";
import { waypointRequired } from "../../../core/protocol/wds/service.ts";
import { serviceAccountWaypoint } from "../../../core/protocol/wds/workload.ts";
import { selectorMatches, type Condition, type Labels, type ObjectMeta } from "../../sources/objects.ts";
import type { Canary } from "./canary.ts";
import type { Reader } from "./collections.ts";
import type { DanglingWaypoints, Inputs } from "./inputs.ts";
import { networkAddress } from "./resources.ts";
import { waypointBound } from "./status.ts";
import type { Waypoint } from "./waypoints.ts";

export type Binding =
  | { readonly kind: "unbound" }
  /** `scope` says by whose wish: with the service account's, what is addressed to services without a waypoint goes there too. */
  | { readonly kind: "bound"; readonly waypoint: Waypoint; readonly scope: "label" | "service-account" }
  | {
      readonly kind: "refused";
      readonly reason: BindingProblem;
      readonly message: string;
      /** The waypoint that was asked for. */
      readonly wanted: WaypointName;
    };

export const unbound: Binding = { kind: "unbound" };

export type BindingProblem = "WaypointIsNotReady" | "AttachmentDenied" | "UnsupportedTrafficType";

export interface WaypointName {
  readonly namespace: string;
  readonly name: string;
}

export type Traffic = "service" | "workload";

/** Who asks, and for what. */
interface Wish extends WaypointName {
  readonly by: "object" | "service-account" | "namespace";
}

/**
 * @param traffic how the object is addressed: decides which waypoints can serve it (label istio.io/waypoint-for).
 * @param serviceAccount that a workload runs as.
 */
export function bindingOf(
  reader: Reader,
  inputs: Inputs,
  meta: ObjectMeta,
  traffic: Traffic,
  serviceAccount?: string,
): Binding {
  if (isGateway(meta.labels)) return unbound;
  const wish = wishOf(reader, inputs, meta, serviceAccount);
  if (wish === undefined) return unbound;
  const waypoint = availableWaypoint(reader, inputs, wish, meta.namespace);
  if ("reason" in waypoint) return waypoint;
  // One that is named by a service account, and says nothing else, is for all that its workloads are reached by.
  const isAccounts = wish.by === "service-account";
  const trafficType = waypoint.trafficType ?? (isAccounts ? "all" : usualTraffic);
  if (isAccounts && trafficType === "all") return { kind: "bound", waypoint, scope: "service-account" };
  if (trafficType === traffic || trafficType === "all") return { kind: "bound", waypoint, scope: "label" };
  // A namespace names one waypoint for all that is in it: workloads are silently not meant.
  if (traffic === "workload" && wish.by === "namespace") return unbound;
  const { namespace, name } = wish;
  return refused(
    "UnsupportedTrafficType",
    `waypoint ${namespace}/${name} is for ${trafficType} traffic, not for ${traffic}`,
    wish,
  );
}

/** The waypoint of that name if it is one and lets the namespace in, whatever traffic it is for. */
export function availableWaypoint(
  reader: Reader,
  inputs: Inputs,
  wanted: WaypointName,
  namespace: string,
): Waypoint | (Binding & { readonly kind: "refused" }) {
  const key = `${wanted.namespace}/${wanted.name}`;
  const waypoint = inputs.waypoints.get(reader, key);
  if (waypoint === undefined)
    return refused(
      "WaypointIsNotReady",
      `waypoint ${key} does not exist, has no address yet, or has no HBONE listener`,
      wanted,
    );
  if (!isAllowed(waypoint, namespace, inputs.namespace(reader, namespace).labels))
    return refused("AttachmentDenied", `waypoint ${key} does not allow objects of namespace ${namespace}`, wanted);
  return waypoint;
}

/** Whether it is for what is addressed like this, as far as itself or its class says. */
export function serves({ trafficType = usualTraffic }: Waypoint, traffic: Traffic): boolean {
  return trafficType === traffic || trafficType === "all";
}

/** The label that counts, or a Gateway that says whose it is. `none` beats everything less specific. */
function wishOf(
  reader: Reader,
  inputs: Inputs,
  meta: ObjectMeta,
  serviceAccount: string | undefined,
): Wish | undefined {
  const fromLabels = (labels: Labels, by: Wish["by"]): Wish | undefined => {
    const name = labels[useWaypoint];
    if (name === undefined || name === "none") return undefined;
    return { by, name, namespace: labels[useWaypointNamespace] ?? meta.namespace };
  };
  if (meta.labels[useWaypoint] !== undefined) return fromLabels(meta.labels, "object");
  if (serviceAccount !== undefined) {
    const account = `${meta.namespace}/${serviceAccount === "" ? "default" : serviceAccount}`;
    const labels = inputs.accountLabels.get(reader, account) ?? {};
    if (labels[useWaypoint] !== undefined) return fromLabels(labels, "service-account");
    const [oldest] = inputs.waypoints.lookup(reader, "waypoint-of-account", account).sort(byAge);
    if (oldest) return { by: "service-account", name: oldest.name, namespace: oldest.namespace };
  }
  return fromLabels(inputs.namespace(reader, meta.namespace).labels, "namespace");
}

/**
 * The waypoint as an agent is told of it, or undefined. One that cannot be had is no reference, unless the mesh wants connections
 * refused rather than sent without: then it is one that nobody can resolve (RFC 2606, 2), whatever else comes to have its name.
 */
export function waypointAddress(reader: Reader, inputs: Inputs, binding: Binding): GatewayAddress | undefined {
  switch (binding.kind) {
    case "unbound":
      return undefined;
    case "refused": {
      if (inputs.config.danglingWaypoints === "l4") return undefined;
      const { namespace, name } = binding.wanted;
      const hostname = `${name}.${namespace}.waypoint.invalid`;
      return { destination: { $case: "hostname", value: { namespace, hostname } }, hboneMtlsPort: 15008 };
    }
    case "bound":
      return gatewayAddress(reader, inputs, binding.waypoint);
  }
}

export function gatewayAddress(reader: Reader, inputs: Inputs, waypoint: Waypoint): GatewayAddress {
  const { namespace, address, port } = waypoint;
  return {
    destination:
      address.kind === "hostname"
        ? { $case: "hostname", value: { namespace, hostname: address.value } }
        : { $case: "address", value: networkAddress(inputs.network(reader), address.value) },
    hboneMtlsPort: port,
  };
}

/** Says to agents of ours that a workload's waypoint is its service account's. */
export function accountMark(binding: Binding): Extension[] {
  const isAccounts = binding.kind === "bound" && binding.scope === "service-account";
  return isAccounts ? [{ name: serviceAccountWaypoint, config: undefined }] : [];
}

/**
 * Says to agents of ours that a service's ports are reached through its waypoint only. Its own label's word counts; its namespace's
 * does for those of its services that ask for a waypoint at all.
 */
export function requirementMark(reader: Reader, inputs: Inputs, meta: ObjectMeta, binding: Binding): Extension[] {
  const own = meta.labels[waypointRequired];
  const ofNamespace = inputs.namespace(reader, meta.namespace).labels[waypointRequired];
  const isRequired = own === undefined ? ofNamespace === "true" && binding.kind !== "unbound" : own === "true";
  return isRequired ? [{ name: waypointRequired, config: undefined }] : [];
}

/** What a binding says on the object's status; nothing where nobody asked for a waypoint. */
export function bindingConditions(binding: Binding, canary: Canary, dangling: DanglingWaypoints): Condition[] {
  const type = waypointBound;
  switch (binding.kind) {
    case "unbound":
      return [];
    case "bound": {
      const bound = `bound to waypoint ${nameOf(binding.waypoint)}`;
      if (canary.kind === "refused") {
        const message = `${bound}, which takes everything: the canary is no good, ${canary.message}`;
        return [{ type, status: "False", reason: canary.reason, message }];
      }
      const split = canary.kind === "split" ? `, ${canary.percent} % to canary ${nameOf(canary.waypoint)}` : "";
      return [{ type, status: "True", reason: "WaypointAccepted", message: `${bound}${split}` }];
    }
    case "refused": {
      const message = `${binding.message}; until then ${consequences[dangling]}`;
      return [{ type, status: "False", reason: binding.reason, message }];
    }
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

function refused(
  reason: BindingProblem,
  message: string,
  { namespace, name }: WaypointName,
): Binding & { readonly kind: "refused" } {
  return { kind: "refused", reason, message, wanted: { namespace, name } };
}

function nameOf({ namespace, name }: WaypointName): string {
  return `${namespace}/${name}`;
}

function byAge(a: Waypoint, b: Waypoint): number {
  return `${a.createdAt} ${a.name}` < `${b.createdAt} ${b.name}` ? -1 : 1;
}

const consequences: Record<DanglingWaypoints, string> = {
  l4: "connections go without a waypoint, and only policies of L4 hold",
  refuse: "agents refuse connections",
};
const usualTraffic: Traffic = "service";
export const useWaypoint = "istio.io/use-waypoint";
const useWaypointNamespace = "istio.io/use-waypoint-namespace";
const managedGateways = ["istio.io-mesh-controller", "istio.io-eastwest-controller"];
