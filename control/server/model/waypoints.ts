/** Gateways that can be bound to as waypoints: those with an address and a listener for tunnels. */
import type { Gateway, GatewayClass, LabelSelector } from "../../sources/objects.ts";

export interface Waypoint {
  readonly namespace: string;
  readonly name: string;
  /** A host name where the gateway has one: it outlives the address behind it. */
  readonly address: { readonly kind: "hostname" | "address"; readonly value: string };
  readonly port: number;
  /** `service`, `workload`, `all`, `none`, or a word that matches nothing; undefined where nobody said. */
  readonly trafficType: string | undefined;
  /** The service account of its namespace whose workloads it is for. */
  readonly serviceAccount?: string;
  /** RFC 3339. Of two for one service account the older is its waypoint. */
  readonly createdAt: string;
  /** How a gateway that speaks no HBONE itself is fed: by the agent of its node, which ends the tunnel for it. */
  readonly inboundBinding?: { readonly protocol: string; readonly port: number };
  /** Which namespaces may bind: `Same`, `All`, `Selector`; any other word is none. */
  readonly allowed: { readonly from: string; readonly selector: LabelSelector };
}

/**
 * The waypoint a Gateway is, or undefined while it has no address. Its class only decides who deploys it. A gateway that
 * speaks no HBONE is none, so that a label that names an ingress by mistake is reported instead of breaking traffic.
 */
export function waypointOf(gateway: Gateway, gatewayClass: GatewayClass | undefined): Waypoint | undefined {
  const { addresses } = gateway.status;
  const hostname = addresses.find((address) => address.type === "Hostname")?.value;
  const ip = addresses.find((address) => address.type === "IPAddress")?.value;
  const listener = gateway.spec.listeners.find(({ protocol }) => protocol === "HBONE");
  const inboundBinding = parseInboundBinding(
    gateway.metadata.annotations[inboundBindingKey] ?? gatewayClass?.metadata.annotations[inboundBindingKey],
  );
  if (listener === undefined && inboundBinding === undefined) return undefined;
  if (hostname === undefined && ip === undefined) return undefined;
  const serviceAccount = gateway.metadata.annotations[forServiceAccount];
  return {
    namespace: gateway.metadata.namespace,
    name: gateway.metadata.name,
    address: hostname === undefined ? { kind: "address", value: ip ?? "" } : { kind: "hostname", value: hostname },
    port: listener?.port ?? hbonePort,
    trafficType: gateway.metadata.labels[waypointFor] ?? gatewayClass?.metadata.labels[waypointFor],
    createdAt: gateway.metadata.creationTimestamp ?? "",
    allowed: (listener ?? gateway.spec.listeners[0])?.allowedRoutes ?? sameNamespace,
    ...(inboundBinding === undefined ? {} : { inboundBinding }),
    ...(serviceAccount === undefined ? {} : { serviceAccount }),
  };
}

/** `PROTOCOL` or `PROTOCOL/PORT` */
function parseInboundBinding(text: string | undefined): Waypoint["inboundBinding"] {
  const match = /^(NONE|PROXY)(?:\/([0-9]{1,5}))?$/.exec(text ?? "");
  return match?.[1] === undefined ? undefined : { protocol: match[1], port: Number(match[2] ?? 0) };
}

const waypointFor = "istio.io/waypoint-for";
const inboundBindingKey = "ambient.istio.io/waypoint-inbound-binding";
const forServiceAccount = "istio.io/for-service-account";
const hbonePort = 15008;
const sameNamespace: Waypoint["allowed"] = { from: "Same", selector: { matchLabels: {}, matchExpressions: [] } };
