/** Network interfaces. */
import {
  attribute,
  nested,
  parseAttributes,
  attributeText,
  textAttribute,
  uint32Attribute,
} from "../netlink-attributes.ts";
import { LinuxError } from "../errno.ts";
import { changeWithRtnetlink, createOnly, interfaceIndex, withRtnetlink, type In, type Rtnetlink } from "./session.ts";

export interface VethOptions extends In {
  readonly name: string;
  readonly mtu?: number;
  /** The other end, in its own namespace (or in the same one as this end); that descriptor stays open until the promise settles. */
  readonly peer: { readonly name: string } & In;
}

export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  /** Bytes. */
  readonly mtu: number;
  /** `02:00:00:00:00:01`; empty where the link has none. */
  readonly address: string;
  /** "veth", "bridge" …; empty for the kernel's own, as loopback. */
  readonly kind: string;
}

/** Makes a pair of interfaces, each in its namespace from the start; both are down. EEXIST when a name is taken. */
export function createVeth(options: VethOptions): Promise<LinuxError | undefined> {
  const { name, mtu, netns, peer } = options;
  const peerAttributes = [textAttribute(IFLA_IFNAME, peer.name)];
  if (mtu !== undefined) peerAttributes.push(uint32Attribute(IFLA_MTU, mtu));
  const peerNetns = peer.netns ?? netns;
  if (peerNetns !== undefined) peerAttributes.push(uint32Attribute(IFLA_NET_NS_FD, peerNetns));
  const peerLink = attribute(VETH_INFO_PEER, Buffer.concat([Buffer.alloc(IFINFOMSG), ...peerAttributes]));
  const linkinfo = Buffer.concat([textAttribute(IFLA_INFO_KIND, "veth"), nested(IFLA_INFO_DATA, [peerLink])]);
  const attributes = { ifname: name, linkinfo, ...(mtu === undefined ? {} : { mtu }) };
  return changeWithRtnetlink({ netns }, "create-veth", `${name} ${peer.name}`, (socket) =>
    socket.newLink({}, attributes, createOnly),
  );
}

/** Deletes an interface, of a veth both ends. */
export function deleteLink(name: string, where: In = {}): Promise<LinuxError | undefined> {
  return onLink(name, where, "delete-link", (socket, index) => socket.delLink({ index }));
}

export function setUp(name: string, where: In = {}): Promise<LinuxError | undefined> {
  return onLink(name, where, "set-up", (socket, index) =>
    socket.setLink({ index, flags: { up: true }, change: { up: true } }),
  );
}

/**
 * Has the kernel act on a carrier that has just come, which it else may put off for up to a second, and IPv6 with it: when one
 * link is asked for, it brings that one up to date first (rtnl_getlink, since Linux 6.8; before, this does nothing).
 */
export function settleLink(name: string, where: In = {}): Promise<LinuxError | undefined> {
  return onLink(name, where, "get-link", (socket, index) => socket.getLink({ index }));
}

export function setDown(name: string, where: In = {}): Promise<LinuxError | undefined> {
  return onLink(name, where, "set-down", (socket, index) => socket.setLink({ index, flags: {}, change: { up: true } }));
}

/** @param mtu bytes. */
export function setMtu(name: string, mtu: number, where: In = {}): Promise<LinuxError | undefined> {
  return onLink(name, where, "set-mtu", (socket, index) => socket.setLink({ index }, { mtu }));
}

export async function listLinks(where: In = {}): Promise<LinkInfo[] | LinuxError> {
  return withRtnetlink(where, "list-links", "", async (socket) => {
    const links = await socket.getLinks();
    return links.map(({ data, attrs }) => ({
      index: data.index ?? 0,
      name: attrs.ifname ?? "",
      up: data.flags?.up === true,
      mtu: attrs.mtu ?? 0,
      address: [...(attrs.address ?? [])].map((byte) => byte.toString(16).padStart(2, "0")).join(":"),
      kind: attrs.linkinfo === undefined ? "" : attributeText(parseAttributes(attrs.linkinfo).get(IFLA_INFO_KIND)),
    }));
  });
}

async function onLink(
  name: string,
  where: In,
  operation: string,
  change: (socket: Rtnetlink, index: number) => Promise<unknown>,
): Promise<LinuxError | undefined> {
  const index = interfaceIndex(name, where);
  if (index instanceof LinuxError) return index;
  return changeWithRtnetlink(where, operation, name, (socket) => change(socket, index));
}

// linux/if_link.h, linux/veth.h
const IFINFOMSG = 16;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_NET_NS_FD = 28;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
