/** Reads a result of any version: 0.1 and 0.2 have one address a family (`ip4`, `ip6`), later ones a list. */
import { canonicalIp } from "../../base/ip.ts";
import { CniSpecError } from "./errors.ts";
import { Faults, type JsonObject } from "./json-reader.ts";
import type { CniAddress, CniDns, CniInterface, CniResult, CniRoute } from "./result.ts";
import { atLeast, type CniVersion } from "./versions.ts";

/** @param version whose form it has. @param path of the value, for the faults. */
export function parseResult(value: JsonObject, version: CniVersion, path = "prevResult"): CniResult | CniSpecError {
  const faults = new Faults();
  const result = atLeast(version, "0.3.0") ? listed(value, path, faults) : paired(value, path, faults);
  return faults.found.length === 0 ? result : new CniSpecError({ code: "cni-spec.undecodable", faults: faults.found });
}

function listed(value: JsonObject, path: string, faults: Faults): CniResult {
  return {
    interfaces: each(value["interfaces"], `${path}.interfaces`, faults, readInterface),
    ips: each(value["ips"], `${path}.ips`, faults, readAddress),
    routes: each(value["routes"], `${path}.routes`, faults, readRoute),
    dns: readDns(value["dns"], `${path}.dns`, faults),
  };
}

function paired(value: JsonObject, path: string, faults: Faults): CniResult {
  const ips: CniAddress[] = [];
  const routes: CniRoute[] = [];
  for (const family of ["ip4", "ip6"]) {
    if (value[family] === undefined || value[family] === null) continue;
    const at = `${path}.${family}`;
    const { ip, gateway, routes: own } = faults.object(value[family], at);
    ips.push(...addressOf({ cidr: ip, gateway, at: `${at}.ip` }, faults));
    routes.push(...each(own, `${at}.routes`, faults, readRoute));
  }
  return { interfaces: [], ips, routes, dns: readDns(value["dns"], `${path}.dns`, faults) };
}

type Read<T> = (item: JsonObject, path: string, faults: Faults) => T[];

function each<T>(value: unknown, path: string, faults: Faults, read: Read<T>): T[] {
  return faults.list(value, path).flatMap((item, at) => {
    const own = `${path}[${at}]`;
    return read(faults.object(item, own), own, faults);
  });
}

function readInterface(item: JsonObject, path: string, faults: Faults): CniInterface[] {
  return [
    defined({
      name: faults.text(item["name"], `${path}.name`),
      mac: textOrAbsent(item["mac"], `${path}.mac`, faults),
      mtu: faults.integer(item["mtu"], `${path}.mtu`),
      sandbox: textOrAbsent(item["sandbox"], `${path}.sandbox`, faults),
      socketPath: textOrAbsent(item["socketPath"], `${path}.socketPath`, faults),
      pciID: textOrAbsent(item["pciID"], `${path}.pciID`, faults),
    }),
  ];
}

function readAddress(item: JsonObject, path: string, faults: Faults): CniAddress[] {
  const index = faults.integer(item["interface"], `${path}.interface`);
  const { address: cidr, gateway } = item;
  return addressOf({ cidr, gateway, at: `${path}.address` }, faults).map((address) =>
    index === undefined ? address : { interface: index, ...address },
  );
}

interface WrittenAddress {
  readonly cidr: unknown;
  readonly gateway: unknown;
  readonly at: string;
}

function addressOf({ cidr, gateway, at }: WrittenAddress, faults: Faults): CniAddress[] {
  const parsed = parseCidr(faults.text(cidr, at));
  if (parsed === undefined) {
    faults.add(at, "is no address with a prefix, as 10.0.0.2/24");
    return [];
  }
  const gatewayText = ipOrAbsent(gateway, `gateway beside ${at}`, faults);
  return [gatewayText === undefined ? parsed : { ...parsed, gateway: gatewayText }];
}

function readRoute(item: JsonObject, path: string, faults: Faults): CniRoute[] {
  const dst = parseCidr(faults.text(item["dst"], `${path}.dst`));
  if (dst === undefined) {
    faults.add(`${path}.dst`, "is no range, as 10.0.0.0/8");
    return [];
  }
  const number = (key: string): number | undefined => faults.integer(item[key], `${path}.${key}`);
  return [
    defined({
      dst: `${dst.ip}/${dst.prefix}`,
      gw: ipOrAbsent(item["gw"], `${path}.gw`, faults),
      mtu: number("mtu"),
      advmss: number("advmss"),
      priority: number("priority"),
      table: number("table"),
      scope: number("scope"),
    }),
  ];
}

function readDns(value: unknown, path: string, faults: Faults): CniDns {
  const dns = faults.object(value, path);
  const texts = (key: string): string[] | undefined => {
    const found = faults.texts(dns[key], `${path}.${key}`);
    return found.length === 0 ? undefined : found;
  };
  return defined({
    nameservers: texts("nameservers"),
    domain: textOrAbsent(dns["domain"], `${path}.domain`, faults),
    search: texts("search"),
    options: texts("options"),
  });
}

function parseCidr(text: string): { ip: string; prefix: number } | undefined {
  const [, address = "", bits = ""] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const ip = canonicalIp(address);
  if (ip === undefined) return undefined;
  const widest = address.includes(":") ? 128 : 32;
  if (Number(bits) > widest) return undefined;
  // ::ffff:10.0.0.2/120 is 10.0.0.2/24.
  const prefix = widest === 128 && !ip.includes(":") ? Number(bits) - 96 : Number(bits);
  return prefix < 0 ? undefined : { ip, prefix };
}

function ipOrAbsent(value: unknown, path: string, faults: Faults): string | undefined {
  const text = faults.text(value, path);
  if (text === "") return undefined;
  const ip = canonicalIp(text);
  if (ip === undefined) faults.add(path, "is no IP address");
  return ip;
}

function textOrAbsent(value: unknown, path: string, faults: Faults): string | undefined {
  const text = faults.text(value, path);
  return text === "" ? undefined : text;
}

/** The same without the keys that hold nothing. */
function defined<T extends object>(
  value: T,
): { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
} {
  return Object.fromEntries(Object.entries(value).filter(([, held]) => held !== undefined)) as never;
}
