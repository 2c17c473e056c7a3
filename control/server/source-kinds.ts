/** What control reads of a cluster: each is a right to list and to watch. */
import type { Kind } from "../sources/objects.ts";

export const sourceKinds: readonly { readonly kind: Kind }[] = [
  { kind: "Namespace" },
  { kind: "Node" },
  { kind: "Pod" },
  { kind: "ServiceAccount" },
  { kind: "Service" },
  { kind: "EndpointSlice" },
  { kind: "AuthorizationPolicy" },
  { kind: "PeerAuthentication" },
  { kind: "ServiceEntry" },
  { kind: "WorkloadEntry" },
  { kind: "Gateway" },
  { kind: "GatewayClass" },
];
