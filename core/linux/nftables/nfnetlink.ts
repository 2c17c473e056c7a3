/** A request to netfilter and all its answers, synchronously: the kernel has answered by the time that the send returns. */
import { lastError, syscallError, type LinuxError } from "../errno.ts";
import { AF_NETLINK, libc, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_NETLINK } from "../libc.ts";
import { inNamespaceOf } from "../namespace.ts";
import { aligned, attributeText, parseAttributes } from "../netlink-attributes.ts";

/** One answer; `payload` begins after the netlink header. */
export interface Answer {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

/** What an answer of type {@link NLMSG_ERROR} says. */
export interface Verdict {
  /** A positive errno; 0 acknowledges. */
  readonly errno: number;
  /** The kernel's own words, where it has any (extended acknowledgement). */
  readonly text: string;
}

/** One message: struct nlmsghdr, struct nfgenmsg (`generic`) and attributes, which are padded already. */
export function netlinkMessage(
  type: number,
  flags: number,
  sequence: number,
  generic: Uint8Array,
  attributes: Uint8Array[],
): Uint8Array {
  const header = Buffer.alloc(NLMSGHDR);
  const message = Buffer.concat([header, generic, ...attributes]);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  message.writeUInt32LE(sequence, 8);
  return message;
}

/**
 * Sends one buffer of messages and collects answers until there are no more.
 * @param protocol another part of the kernel that answers in the same manner.
 */
export function exchange(
  netns: number | undefined,
  request: Uint8Array,
  protocol: number = NETLINK_NETFILTER,
): Answer[] | LinuxError {
  const on = protocol === NETLINK_NETFILTER ? "NETLINK_NETFILTER" : `netlink ${protocol}`;
  const fd = inNamespaceOf(netns, () => libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  // EPROTONOSUPPORT: a kernel without netfilter's netlink.
  if (fd < 0) return lastError("socket", on);
  try {
    // Answers need not repeat the request, and may come with words. Old kernels can't: no matter.
    libc.setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, one, 4);
    libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, one, 4);
    if (libc.send(fd, request, request.length, 0) < 0) return lastError("send", on);
    return receiveAll(fd, on);
  } finally {
    libc.close(fd);
  }
}

/** @param answer of type NLMSG_ERROR: struct nlmsgerr, then attributes. */
export function verdictOf(answer: Answer): Verdict {
  const errno = -answer.payload.readInt32LE(0);
  const hasText = (answer.flags & NLM_F_ACK_TLVS) !== 0;
  const words = hasText ? parseAttributes(answer.payload.subarray(NLMSGERR)).get(NLMSGERR_ATTR_MSG) : undefined;
  return { errno, text: attributeText(words) };
}

export function verdictError(call: string, verdict: Verdict, on: string): LinuxError {
  return syscallError(call, verdict.errno, verdict.text === "" ? on : `${on}: ${verdict.text}`);
}

function receiveAll(fd: number, on: string): Answer[] | LinuxError {
  const answers: Answer[] = [];
  for (;;) {
    const length = libc.recv(fd, inbox, inbox.length, 0);
    if (length < 0) {
      const failure = lastError("recv", on);
      return failure.errno === "EAGAIN" ? answers : failure;
    }
    if (length === 0) return answers;
    // A copy: the inbox is used again.
    answers.push(...parseMessages(Buffer.from(inbox.subarray(0, length))));
  }
}

function* parseMessages(bytes: Buffer): Generator<Answer> {
  for (let at = 0; at + NLMSGHDR <= bytes.length;) {
    const length = bytes.readUInt32LE(at);
    if (length < NLMSGHDR || at + length > bytes.length) return;
    yield {
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      sequence: bytes.readUInt32LE(at + 8),
      payload: bytes.subarray(at + NLMSGHDR, at + length),
    };
    at += aligned(length);
  }
}

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLM_F_DUMP_INTR = 0x10;

const NLMSGHDR = 16;
const NLM_F_ACK_TLVS = 0x200;
/** int error and the header of the request. */
const NLMSGERR = 20;
const NLMSGERR_ATTR_MSG = 1;
const NETLINK_NETFILTER = 12;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;

const one = Int32Array.of(1);
/** Dumps come in pieces of at most 32 KiB (NLMSG_GOODSIZE and what the reader offers). */
const inbox = Buffer.alloc(64 * 1024);
