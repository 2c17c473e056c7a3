/** Addresses of interfaces. */
import { formatIp } from "../../base/ip.ts";
import { LinuxError } from "../errno.ts";
import {
  AF_INET6,
  changeWithRtnetlink,
  createOnly,
  familyAddress,
  interfaceIndex,
  withRtnetlink,
  type In,
  type Rtnetlink,
} from "./session.ts";

export interface AddressOptions extends In {
  readonly interface: string;
  /** IPv4 or IPv6 text. */
  readonly address: string;
  /** Bits: 32 or 128 for a routed pod. */
  readonly prefix: number;
}

export interface AddressInfo {
  /** Index of its interface. */
  readonly index: number;
  readonly address: string;
  readonly prefix: number;
}

/** Gives an interface an address; IPv6 without duplicate address detection, so that it can be bound at once. EEXIST if it has it. */
export function addAddress(options: AddressOptions): Promise<LinuxError | undefined> {
  return onAddress(options, "add-address", (socket, data, attributes) =>
    socket.newAddress(data, attributes, createOnly),
  );
}

/** EADDRNOTAVAIL if the interface hasn't got it. */
export function deleteAddress(options: AddressOptions): Promise<LinuxError | undefined> {
  return onAddress(options, "delete-address", (socket, data, attributes) => socket.delAddress(data, attributes));
}

export async function listAddresses(where: In = {}): Promise<AddressInfo[] | LinuxError> {
  return withRtnetlink(where, "list-addresses", "", async (socket) => {
    const addresses = await socket.getAddresses();
    return addresses.map(({ data, attrs }) => ({
      index: data.index ?? 0,
      // On a point-to-point link `address` is the peer's.
      address: formatIp(attrs.local ?? attrs.address ?? new Uint8Array()) ?? "",
      prefix: data.prefixlen ?? 0,
    }));
  });
}

type Data = NonNullable<Parameters<Rtnetlink["newAddress"]>[0]>;
type Attributes = NonNullable<Parameters<Rtnetlink["newAddress"]>[1]>;

async function onAddress(
  options: AddressOptions,
  operation: string,
  change: (socket: Rtnetlink, data: Data, attributes: Attributes) => Promise<unknown>,
): Promise<LinuxError | undefined> {
  const index = interfaceIndex(options.interface, options);
  if (index instanceof LinuxError) return index;
  const address = familyAddress(options.address);
  if (address instanceof LinuxError) return address;
  const data: Data = { family: address.family, prefixlen: options.prefix, index };
  if (address.family === AF_INET6) data.flags = { nodad: true };
  const detail = `${options.address}/${options.prefix} on ${options.interface}`;
  return changeWithRtnetlink(options, operation, detail, (socket) =>
    change(socket, data, { local: address.bytes, address: address.bytes }),
  );
}
