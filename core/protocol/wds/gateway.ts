/** How WDS points at a waypoint or a network gateway (istio.workload.GatewayAddress). */
import type { GatewayAddress } from "../generated/workload.ts";
import { addressOf, portOf } from "./fields.ts";
import { WdsError } from "./wds-error.ts";

/** A gateway by address or by service name; resolved against the mesh when a connection needs it. */
export interface GatewayRef {
  readonly destination:
    | { readonly kind: "address"; readonly network: string; readonly address: string } // canonical text
    | { readonly kind: "hostname"; readonly namespace: string; readonly hostname: string };
  /** Where the gateway takes HBONE. */
  readonly port: number;
}

const hbonePort = 15_008;

/** `undefined` where the field is absent; a gateway without a destination is refused (agent-wire 4.4). */
export function gatewayOf(field: string, gateway: GatewayAddress | undefined): GatewayRef | undefined | WdsError {
  if (gateway === undefined) return undefined;
  const { destination } = gateway;
  if (destination === undefined) return new WdsError({ code: "wds.missing", field: `${field}.destination` });
  // 0 is what a sender that relies on the default leaves on the wire.
  const port = portOf(`${field}.hbone_mtls_port`, gateway.hboneMtlsPort === 0 ? hbonePort : gateway.hboneMtlsPort);
  if (port instanceof WdsError) return port;
  if (destination.$case === "hostname") {
    const { namespace, hostname } = destination.value;
    if (hostname === "") return new WdsError({ code: "wds.missing", field: `${field}.hostname` });
    return { destination: { kind: "hostname", namespace, hostname }, port };
  }
  const address = addressOf(`${field}.address`, destination.value.address);
  if (address instanceof WdsError) return address;
  return { destination: { kind: "address", network: destination.value.network, address }, port };
}
