/** Ends TCP connections of others from outside, as `ss --kill` does (linux/inet_diag.h, SOCK_DESTROY): the peer gets a reset. */
import { isIP } from "node:net";
import type { Endpoint } from "../base/ip.ts";
import { parseIp } from "../base/ip.ts";
import type { LinuxError } from "./errno.ts";
import { AF_INET, AF_INET6 } from "./libc.ts";
import { exchange, netlinkMessage, NLM_F_ACK, NLM_F_REQUEST, verdictError, verdictOf } from "./nftables/nfnetlink.ts";

/** One end of a connection. */
export interface ConnectionEnd {
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/**
 * Whoever holds the socket reads ECONNABORTED. One that is gone meanwhile is no error. Needs CAP_NET_ADMIN there.
 * EOPNOTSUPP: a kernel without INET_DIAG_DESTROY.
 */
export function destroySocket(netns: number | undefined, end: ConnectionEnd): LinuxError | undefined {
  const request = netlinkMessage(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, 1, requestOf(end), []);
  const answers = exchange(netns, request, NETLINK_SOCK_DIAG);
  if (!Array.isArray(answers)) return answers;
  const [answer] = answers;
  const verdict = answer === undefined ? undefined : verdictOf(answer);
  if (verdict === undefined || verdict.errno === 0) return undefined;
  const failure = verdictError("sock_diag destroy", verdict, "");
  return failure.errno === "ENOENT" ? undefined : failure;
}

/** struct inet_diag_req_v2: family, protocol, two unused, states; ports and addresses as on the wire; interface; no cookie. */
function requestOf({ local, remote }: ConnectionEnd): Uint8Array {
  const bytes = Buffer.alloc(56);
  bytes.writeUInt8(isIP(local.address) === 6 ? AF_INET6 : AF_INET, 0);
  bytes.writeUInt8(IPPROTO_TCP, 1);
  bytes.writeUInt32LE(0xffffffff, 4);
  bytes.writeUInt16BE(local.port, 8);
  bytes.writeUInt16BE(remote.port, 10);
  bytes.set(parseIp(local.address) ?? [], 12);
  bytes.set(parseIp(remote.address) ?? [], 28);
  bytes.fill(0xff, 48);
  return bytes;
}

const NETLINK_SOCK_DIAG = 4;
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
