/**
 * One rtnetlink socket for one operation. Main threads only: the native part of the `netlink` package ends the whole process
 * when a worker that holds a socket ends (Node 24.21, tried). A socket holds on to its namespace, so none is kept.
 */
import { createRtNetlink } from "netlink";
import { isMainThread } from "node:worker_threads";
import { parseIp } from "../../base/ip.ts";
import { messageOf } from "../../base/errors.ts";
import { LinuxError, namedError } from "../errno.ts";
import { libc } from "../libc.ts";
import { inNamespaceOf } from "../namespace.ts";

export type Rtnetlink = ReturnType<typeof createRtNetlink>;

/** Where an operation takes place; the calling thread's own namespace when none is given. */
export interface In {
  /** Descriptor of a network namespace; may be closed as soon as the call has returned its promise. */
  readonly netns?: number | undefined;
}

/** An address of either family, as rtnetlink wants it. */
export interface FamilyAddress {
  readonly family: number;
  readonly bytes: Buffer;
}

/**
 * Opens a socket in that namespace, runs the operation, closes the socket.
 * @param operation named in the error, as "rtnetlink add-address"; `detail` says on what.
 */
export async function withRtnetlink<T>(
  where: In,
  operation: string,
  detail: string,
  body: (socket: Rtnetlink) => Promise<T>,
): Promise<T | LinuxError> {
  if (!isMainThread) throw new Error("rtnetlink is for main threads only");
  let socket: Rtnetlink | undefined;
  try {
    socket = inNamespaceOf(where.netns, () => createRtNetlink());
    return await body(socket);
  } catch (error) {
    return rejected(error, operation, detail);
  } finally {
    // Not from inside the socket's own callback, where this promise continues: its native part would keep a stale flag.
    if (socket !== undefined) setImmediate(closeSocket, socket);
  }
}

/** As {@link withRtnetlink} for an operation without a result. */
export async function changeWithRtnetlink(
  where: In,
  operation: string,
  detail: string,
  body: (socket: Rtnetlink) => Promise<unknown>,
): Promise<LinuxError | undefined> {
  const result = await withRtnetlink(where, operation, detail, body);
  return result instanceof LinuxError ? result : undefined;
}

/** The index of an interface in that namespace. */
export function interfaceIndex(name: string, where: In): number | LinuxError {
  const index = inNamespaceOf(where.netns, () => libc.if_nametoindex(name));
  return index === 0 ? new LinuxError({ code: "linux.no-interface", name }) : index;
}

export function familyAddress(address: string): FamilyAddress | LinuxError {
  const bytes = parseIp(address);
  if (bytes === undefined) return new LinuxError({ code: "linux.not-an-address", address });
  return { family: bytes.length === 4 ? AF_INET : AF_INET6, bytes: Buffer.from(bytes) };
}

/** Create; fail if it is there. */
export const createOnly = { flags: 0x400 | 0x200 };
/** Create, or put in the place of what is there. */
export const createOrReplace = { flags: 0x400 | 0x100 };

export const AF_INET = 2;
export const AF_INET6 = 10;

function closeSocket(socket: Rtnetlink): void {
  socket.socket.close();
}

/** The package tells a refusal as text only: `Request rejected: EEXIST`. */
function rejected(error: unknown, operation: string, detail: string): LinuxError {
  if (error instanceof LinuxError) return error;
  const name = /^Request rejected: (\S+)$/.exec(messageOf(error))?.[1] ?? (error as { code?: string }).code;
  if (name === undefined) throw error;
  return namedError(`rtnetlink ${operation}`, name, detail);
}
