/** By which of its addresses a workload is reached (agent-wire 1.7 step G). */
import { canonicalIp } from "../base/ip.ts";
import type { Random } from "../base/random.ts";
import type { MeshService } from "../protocol/wds/service.ts";
import type { MeshWorkload } from "../protocol/wds/workload.ts";
import type { CloseCode } from "./close-reasons.ts";
import type { TraceStep } from "./trace.ts";

export interface AddressFacts {
  /** The address that was asked for: that one where the workload has it, else one of its family. */
  readonly wanted: string;
  readonly random: Random;
  /** What a hostname resolves to as far as known: undefined where nobody asked yet, empty where there is nothing. */
  readonly resolved?: (hostname: string) => readonly string[] | undefined;
}

export type AddressChoice =
  | { readonly kind: "address"; readonly address: string }
  | {
      readonly kind: "none";
      readonly reason: Extract<CloseCode, "NO_USABLE_ADDRESS" | "HOSTNAME_UNRESOLVED">;
      /** The name that would have to be resolved, if one would do. */
      readonly about: { readonly hostname?: string };
    };

/**
 * The wanted address where it is one of the workload's; else one of a family that the service allows, the wanted family
 * before the other. Where there is only a hostname, the same of what it resolves to, and among equals by chance.
 */
export function chooseAddress(
  workload: MeshWorkload,
  service: MeshService | undefined,
  facts: AddressFacts,
  trace: TraceStep[],
): AddressChoice {
  const { addresses, hostname } = workload;
  const isNameOnly = addresses.length === 0 && hostname !== "";
  const known = isNameOnly ? resolvedAddresses(hostname, facts) : addresses;
  const address = known.includes(facts.wanted)
    ? facts.wanted
    : oneOf(preferred(known, facts.wanted, service), isNameOnly ? facts.random : first);
  if (address !== undefined) {
    trace.push({ code: "address-chosen", workload: workload.uid, address });
    return { kind: "address", address };
  }
  trace.push({ code: "address-missing", workload: workload.uid, hostname });
  return known.length === 0 && isNameOnly
    ? { kind: "none", reason: "HOSTNAME_UNRESOLVED", about: { hostname } }
    : { kind: "none", reason: "NO_USABLE_ADDRESS", about: {} };
}

function resolvedAddresses(hostname: string, facts: AddressFacts): readonly string[] {
  return facts.resolved?.(hostname)?.flatMap((text) => canonicalIp(text) ?? []) ?? [];
}

function preferred(known: readonly string[], wanted: string, service: MeshService | undefined): readonly string[] {
  const allowed = known.filter((address) => isAllowed(service, address));
  const sameFamily = allowed.filter((address) => isIpv6(address) === isIpv6(wanted));
  return sameFamily.length > 0 ? sameFamily : allowed;
}

function oneOf(addresses: readonly string[], random: Random): string | undefined {
  return addresses[Math.floor(random() * addresses.length)];
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

const first: Random = () => 0;
