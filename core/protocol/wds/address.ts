/** The bytes of an istio.workload.Address resource into the workload or service they describe. */
import { messageOf } from "../../base/errors.ts";
import { Address } from "../generated/workload.ts";
import { parseService, type MeshService } from "./service.ts";
import { WdsError } from "./wds-error.ts";
import { parseWorkload, type MeshWorkload } from "./workload.ts";

export const addressType = "type.googleapis.com/istio.workload.Address";

export type MeshAddress =
  | { readonly kind: "workload"; readonly workload: MeshWorkload }
  | { readonly kind: "service"; readonly service: MeshService };

/** @param name the resource's xDS name, which must be its own key (uid, or namespace/hostname): removals use that name. */
export function decodeAddress(bytes: Uint8Array, name?: string): MeshAddress | WdsError {
  const address = parseAddress(bytes);
  if (address instanceof WdsError || name === undefined) return address;
  const key = address.kind === "workload" ? address.workload.uid : address.service.key;
  return key === name ? address : new WdsError({ code: "wds.name-mismatch", name: name.slice(0, 256), key });
}

function parseAddress(bytes: Uint8Array): MeshAddress | WdsError {
  let message: Address;
  try {
    message = Address.decode(bytes);
  } catch (thrown) {
    return new WdsError({ code: "wds.undecodable", reason: messageOf(thrown) });
  }
  switch (message.type?.$case) {
    case "workload": {
      const workload = parseWorkload(message.type.value);
      return workload instanceof WdsError ? workload : { kind: "workload", workload };
    }
    case "service": {
      const service = parseService(message.type.value);
      return service instanceof WdsError ? service : { kind: "service", service };
    }
    case undefined:
      return new WdsError({ code: "wds.missing", field: "type" });
  }
}
