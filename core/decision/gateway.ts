/** Who stands behind a reference to a waypoint or a network gateway: a service's pod or a workload, by address or by name (agent-wire 1.7). */
import { formatEndpoint } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import type { GatewayRef } from "../protocol/wds/gateway.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import { chooseEndpoint, type EndpointQuery } from "./choose-endpoint.ts";
import type { MeshState } from "./mesh-state.ts";
import type { TraceStep } from "./trace.ts";

export interface GatewayQuery {
  readonly source: MeshWorkload;
  readonly random: Random;
  readonly exclude?: ReadonlySet<string>;
}

/** One pod behind the reference, and the port on which it takes HBONE. */
export interface ChosenGateway {
  readonly kind: "gateway";
  readonly workload: MeshWorkload;
  readonly port: number;
  readonly service?: MeshService;
  /** The address by which it was named, if it was: that one is meant, or one of its family. */
  readonly namedAddress?: string;
}

export type GatewayChoice = ChosenGateway | { readonly kind: "unknown" } | { readonly kind: "none-ready" };

/** A reference that names a service leads to one of its endpoints, with the port mapped as for any service. */
export function chooseGateway(
  state: MeshState,
  reference: GatewayRef,
  purpose: EndpointQuery["purpose"],
  query: GatewayQuery,
  trace: TraceStep[],
): GatewayChoice {
  const { destination, port } = reference;
  const found = state.gateway(destination, query.source.namespace);
  if (found === undefined) return { kind: "unknown" };
  const named = destination.kind === "address" ? { namedAddress: destination.address } : {};
  if ("uid" in found) return { kind: "gateway", workload: found, port, ...named };
  const choice = chooseEndpoint(state, { ...query, service: found, servicePort: port, purpose }, trace);
  if (choice.kind === "none") return { kind: "none-ready" };
  return { kind: "gateway", workload: choice.workload, port: choice.port, service: found, ...named };
}

/** `namespace/hostname:port` or `network/address:port`. */
export function describeGateway({ destination, port }: GatewayRef): string {
  return destination.kind === "hostname"
    ? `${destination.namespace}/${destination.hostname}:${port}`
    : `${destination.network}/${formatEndpoint({ address: destination.address, port })}`;
}
