/** Routes. */
import { formatIp } from "../../base/ip.ts";
import { LinuxError } from "../errno.ts";
import {
  changeWithRtnetlink,
  createOrReplace,
  familyAddress,
  interfaceIndex,
  withRtnetlink,
  type In,
  type Rtnetlink,
} from "./session.ts";

export interface Prefix {
  readonly address: string;
  /** Bits. */
  readonly prefix: number;
}

export interface RouteOptions extends In {
  readonly destination: Prefix;
  /** The next hop. */
  readonly via?: string;
  readonly interface?: string;
  /** The next hop is on that interface though no route says so. */
  readonly onlink?: boolean;
  /** Default: main, 254. */
  readonly table?: number;
  /** `local` delivers to this host whatever is addressed so. Default: unicast. */
  readonly type?: "unicast" | "local" | "blackhole" | "unreachable";
}

export interface RouteInfo {
  readonly family: "ipv4" | "ipv6";
  readonly destination: Prefix;
  readonly via?: string;
  /** Index of the interface. */
  readonly index?: number;
  readonly table: number;
  readonly type: "unicast" | "local" | "blackhole" | "unreachable" | "other";
}

/** Adds a route, or puts it in the place of the one to that destination in that table. */
export function addRoute(options: RouteOptions): Promise<LinuxError | undefined> {
  return onRoute(options, "add-route", (socket, data, attributes) =>
    socket.newRoute(data, attributes, createOrReplace),
  );
}

/** ESRCH if there is no such route. */
export function deleteRoute(options: RouteOptions): Promise<LinuxError | undefined> {
  return onRoute(options, "delete-route", (socket, data, attributes) => socket.delRoute(data, attributes));
}

/** @param where `table` leaves out all other tables. */
export async function listRoutes(where: In & { readonly table?: number } = {}): Promise<RouteInfo[] | LinuxError> {
  return withRtnetlink(where, "list-routes", "", async (socket) => {
    const routes = (await socket.getRoutes()).map(({ data, attrs }) => routeInfo(data, attrs));
    return routes.filter((route) => where.table === undefined || route.table === where.table);
  });
}

type Data = Parameters<Rtnetlink["newRoute"]>[0];
type Attributes = NonNullable<Parameters<Rtnetlink["newRoute"]>[1]>;

async function onRoute(
  options: RouteOptions,
  operation: string,
  change: (socket: Rtnetlink, data: Data, attributes: Attributes) => Promise<unknown>,
): Promise<LinuxError | undefined> {
  const request = routeRequest(options);
  if (request instanceof LinuxError) return request;
  const { address, prefix } = options.destination;
  const detail = `${address}/${prefix} table ${options.table ?? MAIN}`;
  return changeWithRtnetlink(options, operation, detail, (socket) => change(socket, ...request));
}

function routeRequest(options: RouteOptions): [Data, Attributes] | LinuxError {
  const { destination, via, onlink = false, table = MAIN, type = "unicast" } = options;
  const address = familyAddress(destination.address);
  if (address instanceof LinuxError) return address;
  const attributes: Attributes = { table };
  if (destination.prefix > 0) attributes.dst = address.bytes;
  if (via !== undefined) {
    const gateway = familyAddress(via);
    if (gateway instanceof LinuxError) return gateway;
    attributes.gateway = gateway.bytes;
  }
  if (options.interface !== undefined) {
    const index = interfaceIndex(options.interface, options);
    if (index instanceof LinuxError) return index;
    attributes.oif = index;
  }
  const scope = type === "local" ? "HOST" : via === undefined && type === "unicast" ? "LINK" : "UNIVERSE";
  const data: Data = {
    family: address.family,
    dstLen: destination.prefix,
    table: table < 256 ? table : 0,
    protocol: "STATIC",
    scope,
    type: kernelType[type],
  };
  if (onlink) data.flags = { __unknown: RTNH_F_ONLINK };
  return [data, attributes];
}

function routeInfo(data: Data, attributes: Attributes): RouteInfo {
  const family = data.family === AF_INET6 ? "ipv6" : "ipv4";
  const any = family === "ipv6" ? "::" : "0.0.0.0";
  const via = attributes.gateway === undefined ? undefined : formatIp(attributes.gateway);
  return {
    family,
    destination: { address: (attributes.dst && formatIp(attributes.dst)) ?? any, prefix: data.dstLen ?? 0 },
    ...(via === undefined ? {} : { via }),
    ...(attributes.oif === undefined ? {} : { index: attributes.oif }),
    table: attributes.table ?? data.table ?? MAIN,
    type: ourType(data.type),
  };
}

function ourType(type: Data["type"]): RouteInfo["type"] {
  const found = Object.entries(kernelType).find(([, name]) => name === type);
  return (found?.[0] as RouteInfo["type"] | undefined) ?? "other";
}

const kernelType = {
  unicast: "UNICAST",
  local: "LOCAL",
  blackhole: "BLACKHOLE",
  unreachable: "UNREACHABLE",
} as const;
const AF_INET6 = 10;
const MAIN = 254;
const RTNH_F_ONLINK = 4;
