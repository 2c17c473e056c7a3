/**
 * Connections as the kernel tracks them (linux/netfilter/nfnetlink_conntrack.h). An entry outlives its connection, and the rules that made it: a
 * connection that comes later between the same ports is taken for the old one, and translated as that one was.
 */
import type { Endpoint } from "../base/ip.ts";
import { formatIp, parseIp } from "../base/ip.ts";
import { LinuxError } from "./errno.ts";
import { AF_INET, AF_INET6 } from "./libc.ts";
import { attribute, nested, parseAttributes, uint32NetworkAttribute } from "./netlink-attributes.ts";
import {
  exchange,
  netlinkMessage,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  verdictError,
  verdictOf,
  type Answer,
} from "./nftables/nfnetlink.ts";

/** One connection, or what of UDP is taken for one. */
export interface TrackedConnection {
  readonly protocol: "tcp" | "udp" | "other";
  /** As its first packet was sent. */
  readonly original: Tuple;
  /** As its answers are sent: the source differs from the original destination where that was translated. */
  readonly reply: Tuple;
  /** The connection's mark (`ct mark`). */
  readonly mark: number;
}

export interface Tuple {
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

/** What the kernel itself sorts out, so that a crowded table need not be read whole. An old kernel doesn't, and tells everything. */
export interface ConnectionFilter {
  /** Connections whose mark, under `mask`, is this. */
  readonly mark?: { readonly value: number; readonly mask: number };
  /** Connections whose destination was changed: redirects are among them. */
  readonly destinationTranslated?: true;
}

/** What the kernel tracks in that namespace. */
export function listConnections(
  netns: number | undefined,
  filter: ConnectionFilter = {},
): TrackedConnection[] | LinuxError {
  const entries = dump(netns, filter);
  return entries instanceof LinuxError ? entries : entries.map(({ connection }) => connection);
}

/**
 * Has the kernel forget the chosen ones; one that is gone meanwhile is no error.
 * EINVAL: this kernel has no such door (nf_conntrack_netlink).
 */
export function forgetConnections(
  netns: number | undefined,
  filter: ConnectionFilter,
  chosen: (connection: TrackedConnection) => boolean,
): LinuxError | undefined {
  const entries = dump(netns, filter);
  if (entries instanceof LinuxError) return entries;
  const requests = entries.filter(({ connection }) => chosen(connection)).map(({ answer }) => deletion(answer));
  for (let at = 0; at < requests.length; at += requestsPerSend) {
    const answers = exchange(netns, Buffer.concat(requests.slice(at, at + requestsPerSend)));
    if (answers instanceof LinuxError) return answers;
    const refused = answers
      .filter(({ type }) => type === NLMSG_ERROR)
      .map((answer) => verdictError("conntrack delete", verdictOf(answer), ""))
      .find(({ errno }) => errno !== "ENOENT");
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/**
 * Where a UDP packet was going before its destination was translated: SO_ORIGINAL_DST answers for TCP only, and IP_RECVORIGDSTADDR with what the
 * translation made of it. One question of some 50 µs, however crowded the table.
 * @param answer how a reply to it is sent: from our own socket's address, to the sender's.
 * @returns undefined where the kernel tracks no such packet. EPERM: the thread has no CAP_NET_ADMIN there.
 */
export function originalUdpDestination(netns: number | undefined, answer: Tuple): Endpoint | LinuxError | undefined {
  const tuple = udpTuple(answer);
  if (tuple === undefined) return undefined;
  const family = answer.source.address.includes(":") ? AF_INET6 : AF_INET;
  const answers = exchange(netns, message(IPCTNL_MSG_CT_GET, NLM_F_REQUEST, family, [nested(CTA_TUPLE_REPLY, tuple)]));
  if (answers instanceof LinuxError) return answers;
  const [first] = answers;
  if (first?.type !== NLMSG_ERROR) return first && readConnection(first)?.original.destination;
  const refused = verdictError("conntrack get", verdictOf(first), "");
  return refused.errno === "ENOENT" ? undefined : refused;
}

interface Entry {
  readonly answer: Answer;
  readonly connection: TrackedConnection;
}

function dump(netns: number | undefined, { mark, destinationTranslated }: ConnectionFilter): Entry[] | LinuxError {
  const pairs: (readonly [number, number])[] = [
    ...(mark === undefined
      ? []
      : ([
          [CTA_MARK, mark.value],
          [CTA_MARK_MASK, mark.mask],
        ] as const)),
    ...(destinationTranslated
      ? ([
          [CTA_STATUS, IPS_DST_NAT],
          [CTA_STATUS_MASK, IPS_DST_NAT],
        ] as const)
      : []),
  ];
  const wanted = pairs.map(([type, value]) => uint32NetworkAttribute(type, value));
  const answers = exchange(netns, message(IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, anyFamily, wanted));
  if (answers instanceof LinuxError) return answers;
  const refused = answers.find(({ type }) => type === NLMSG_ERROR);
  if (refused !== undefined) return verdictError("conntrack list", verdictOf(refused), "");
  return answers.flatMap((answer) => {
    const connection = answer.type === NLMSG_DONE ? undefined : readConnection(answer);
    return connection === undefined ? [] : [{ answer, connection }];
  });
}

function udpTuple({ source, destination }: Tuple): Uint8Array[] | undefined {
  const [from, to] = [parseIp(source.address), parseIp(destination.address)];
  if (from === undefined || to === undefined || from.length !== to.length) return undefined;
  const [fromType, toType] = from.length === 4 ? [CTA_IP_V4_SRC, CTA_IP_V4_DST] : [CTA_IP_V6_SRC, CTA_IP_V6_DST];
  return [
    nested(CTA_TUPLE_IP, [attribute(fromType, from), attribute(toType, to)]),
    nested(CTA_TUPLE_PROTO, [
      attribute(CTA_PROTO_NUM, Uint8Array.of(IPPROTO_UDP)),
      attribute(CTA_PROTO_SRC_PORT, portBytes(source.port)),
      attribute(CTA_PROTO_DST_PORT, portBytes(destination.port)),
    ]),
  ];
}

function portBytes(port: number): Uint8Array {
  return Uint8Array.of(port >> 8, port & 0xff);
}

/** Names an entry by what the kernel said of it; the id keeps its successor from being meant. */
function deletion({ payload }: Answer): Uint8Array {
  const found = parseAttributes(payload.subarray(NFGENMSG));
  const original = found.get(CTA_TUPLE_ORIG) ?? new Uint8Array();
  const named = [CTA_ZONE, CTA_ID].flatMap((type) => {
    const value = found.get(type);
    return value === undefined ? [] : [attribute(type, value)];
  });
  const family = payload.readUInt8(0);
  return message(IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST, family, [nested(CTA_TUPLE_ORIG, [original]), ...named]);
}

function message(kind: number, flags: number, family: number, attributes: Uint8Array[]): Uint8Array {
  return netlinkMessage((NFNL_SUBSYS_CTNETLINK << 8) | kind, flags, 1, Uint8Array.of(family, 0, 0, 0), attributes);
}

/** Undefined for what has no ports. */
function readConnection({ payload }: Answer): TrackedConnection | undefined {
  const found = parseAttributes(payload.subarray(NFGENMSG));
  const original = readTuple(found.get(CTA_TUPLE_ORIG));
  const reply = readTuple(found.get(CTA_TUPLE_REPLY));
  if (original === undefined || reply === undefined) return undefined;
  return {
    protocol: readProtocol(found.get(CTA_TUPLE_ORIG)),
    original,
    reply,
    mark: found.get(CTA_MARK)?.readUInt32BE(0) ?? 0,
  };
}

function readProtocol(tuple: Buffer | undefined): TrackedConnection["protocol"] {
  const parts = parseAttributes(parseAttributes(tuple ?? new Uint8Array()).get(CTA_TUPLE_PROTO) ?? new Uint8Array());
  const number = parts.get(CTA_PROTO_NUM)?.[0];
  return number === IPPROTO_TCP ? "tcp" : number === IPPROTO_UDP ? "udp" : "other";
}

function readTuple(bytes: Buffer | undefined): Tuple | undefined {
  if (bytes === undefined) return undefined;
  const parts = parseAttributes(bytes);
  const addresses = parseAttributes(parts.get(CTA_TUPLE_IP) ?? new Uint8Array());
  const ports = parseAttributes(parts.get(CTA_TUPLE_PROTO) ?? new Uint8Array());
  const endpoint = (v4: number, v6: number, port: number): Endpoint | undefined => {
    const address = formatIp(addresses.get(v4) ?? addresses.get(v6) ?? new Uint8Array());
    const number = ports.get(port)?.readUInt16BE(0);
    return address === undefined || number === undefined ? undefined : { address, port: number };
  };
  const source = endpoint(CTA_IP_V4_SRC, CTA_IP_V6_SRC, CTA_PROTO_SRC_PORT);
  const destination = endpoint(CTA_IP_V4_DST, CTA_IP_V6_DST, CTA_PROTO_DST_PORT);
  return source === undefined || destination === undefined ? undefined : { source, destination };
}

/** A request of some hundred bytes each: well below what a socket takes at once. */
const requestsPerSend = 500;

const NFGENMSG = 4;
const NFNL_SUBSYS_CTNETLINK = 1;
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;
const anyFamily = 0;

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_MARK = 8;
const CTA_ID = 12;
const CTA_ZONE = 18;
const CTA_MARK_MASK = 21;
const CTA_STATUS_MASK = 26;
const IPS_DST_NAT = 1 << 5;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
