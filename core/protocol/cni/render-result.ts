/** Writes a result as one version of the spec has it; what that version has no place for is left out. */
import type { JsonObject } from "./json-reader.ts";
import type { CniAddress, CniInterface, CniResult, CniRoute } from "./result.ts";
import { atLeast, type CniVersion } from "./versions.ts";

export function renderResult(result: CniResult, version: CniVersion): JsonObject {
  return atLeast(version, "0.3.0") ? listed(result, version) : paired(result, version);
}

function listed({ interfaces, ips, routes, dns }: CniResult, version: CniVersion): JsonObject {
  const newest = atLeast(version, "1.1.0");
  const withFamily = !atLeast(version, "1.0.0");
  return {
    cniVersion: version,
    ...(interfaces.length > 0 && { interfaces: interfaces.map((one) => (newest ? one : olderInterface(one))) }),
    ...(ips.length > 0 && { ips: ips.map((address) => addressObject(address, withFamily)) }),
    ...(routes.length > 0 && { routes: routes.map((route) => (newest ? route : olderRoute(route))) }),
    dns,
  };
}

/** 0.1.0 and 0.2.0: the first address of each family, with the routes of that family. */
function paired({ ips, routes, dns }: CniResult, version: CniVersion): JsonObject {
  const side = (family: string, isV6: boolean): JsonObject => {
    const address = ips.find(({ ip }) => ip.includes(":") === isV6);
    if (address === undefined) return {};
    const own = routes.filter(({ dst }) => dst.includes(":") === isV6).map(olderRoute);
    const { ip, prefix, gateway } = address;
    return {
      [family]: {
        ip: `${ip}/${prefix}`,
        ...(gateway !== undefined && { gateway }),
        ...(own.length > 0 && { routes: own }),
      },
    };
  };
  return { cniVersion: version, ...side("ip4", false), ...side("ip6", true), dns };
}

function addressObject({ interface: index, ip, prefix, gateway }: CniAddress, withFamily: boolean): JsonObject {
  return {
    ...(withFamily && { version: ip.includes(":") ? "6" : "4" }),
    ...(index !== undefined && { interface: index }),
    address: `${ip}/${prefix}`,
    ...(gateway !== undefined && { gateway }),
  };
}

function olderInterface({ name, mac, sandbox }: CniInterface): JsonObject {
  return { name, ...(mac !== undefined && { mac }), ...(sandbox !== undefined && { sandbox }) };
}

function olderRoute({ dst, gw }: CniRoute): JsonObject {
  return gw === undefined ? { dst } : { dst, gw };
}
