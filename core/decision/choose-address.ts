/** By which of its addresses a workload is reached (agent-wire 1.7 step G). */
import { canonicalIp, type Endpoint } from "../base/ip.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { CloseCode } from "./close-reasons.ts";
import type { TraceStep } from "./trace.ts";

export interface AddressFacts {
  readonly target: Endpoint;
  readonly resolved?: (hostname: string) => readonly string[] | undefined;
}

export type AddressChoice =
  | { readonly kind: "address"; readonly address: string }
  | {
      readonly kind: "none";
      readonly reason: Extract<CloseCode, "NO_USABLE_ADDRESS" | "HOSTNAME_UNRESOLVED">;
      /** The name that would have to be resolved. */
      readonly hostname?: string;
    };

/**
 * The target's own address where it is one of the workload's; else one of a family that the service allows, the target's
 * family before the other; else what the workload's hostname resolves to.
 */
export function chooseAddress(
  workload: MeshWorkload,
  service: MeshService | undefined,
  facts: AddressFacts,
  trace: TraceStep[],
): AddressChoice {
  const { addresses, hostname } = workload;
  const known = addresses.length > 0 || hostname === "" ? addresses : resolvedAddresses(hostname, facts);
  const address = known.includes(facts.target.address)
    ? facts.target.address
    : preferFamilyOf(
        facts.target.address,
        known.filter((candidate) => isAllowed(service, candidate)),
      );
  if (address !== undefined) {
    trace.push({ code: "address-chosen", workload: workload.uid, address });
    return { kind: "address", address };
  }
  trace.push({ code: "address-missing", workload: workload.uid, hostname });
  return known.length === 0 && hostname !== ""
    ? { kind: "none", reason: "HOSTNAME_UNRESOLVED", hostname }
    : { kind: "none", reason: "NO_USABLE_ADDRESS" };
}

function resolvedAddresses(hostname: string, facts: AddressFacts): readonly string[] {
  return facts.resolved?.(hostname)?.flatMap((text) => canonicalIp(text) ?? []) ?? [];
}

function preferFamilyOf(target: string, candidates: readonly string[]): string | undefined {
  return candidates.find((candidate) => isIpv6(candidate) === isIpv6(target)) ?? candidates[0];
}

function isAllowed(service: MeshService | undefined, address: string): boolean {
  switch (service?.ipFamilies) {
    case "ipv4":
      return !isIpv6(address);
    case "ipv6":
      return isIpv6(address);
    default:
      return true;
  }
}

function isIpv6(address: string): boolean {
  return address.includes(":");
}
