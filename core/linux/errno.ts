/** The one door by which the kernel's errors enter: numbers become names, names become typed errors. */
import { constants } from "node:os";
import { TypedError } from "../base/errors.ts";
import { errno } from "./libc.ts";

/** What the kernel, or a peer through it, can do to us. */
export type LinuxFailure =
  /** A call failed: `call` is its name, or the operation's ("nft add-rule"); `detail` says on what. */
  | { readonly code: "linux.syscall"; readonly call: string; readonly errno: string; readonly detail?: string }
  /** A path or descriptor that is no network namespace. */
  | { readonly code: "linux.not-a-namespace"; readonly detail: string }
  /** A packet was longer than the buffer, or carried more descriptors than were looked for. */
  | { readonly code: "linux.truncated-packet"; readonly what: "bytes" | "descriptors" }
  /** The kernel did not answer a request that it always answers. */
  | { readonly code: "linux.no-answer"; readonly call: string; readonly detail?: string }
  /** No interface of that name in that namespace. */
  | { readonly code: "linux.no-interface"; readonly name: string }
  /** Text that is no IP address. */
  | { readonly code: "linux.not-an-address"; readonly address: string };

export class LinuxError extends TypedError<LinuxFailure> {
  /** The errno's name where a call failed, else undefined: for code that treats one errno specially. */
  get errno(): string | undefined {
    return this.type.code === "linux.syscall" ? this.type.errno : undefined;
  }
}

/** The error of the call that just returned -1. Must be the first thing after it. */
export function lastError(call: string, detail?: string): LinuxError {
  return syscallError(call, errno(), detail);
}

/** @param number a positive errno. */
export function syscallError(call: string, number: number, detail?: string): LinuxError {
  return namedError(call, errnoName(number), detail);
}

export function namedError(call: string, name: string, detail?: string): LinuxError {
  const rest = detail === undefined ? {} : { detail };
  return new LinuxError({ code: "linux.syscall", call, errno: name, ...rest });
}

/** What Node's own fs and net throw (`{code: "ENOENT", syscall: "open"}`), as ours. */
export function fromNode(thrown: unknown, call: string, detail?: string): LinuxError {
  const { code, syscall } = thrown as { code?: unknown; syscall?: unknown };
  if (typeof code !== "string") throw thrown;
  return namedError(typeof syscall === "string" ? syscall : call, code, detail);
}

/** The errno's name in an 'error' that a socket emitted, be it Node's or ours; undefined where it has none. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof LinuxError) return error.errno;
  const { code } = error as { code?: unknown };
  return typeof code === "string" ? code : undefined;
}

/** ECONNREFUSED for 111; the bare number where Node knows no name. */
export function errnoName(number: number): string {
  return names.get(number) ?? `errno ${number}`;
}

// EWOULDBLOCK and EOPNOTSUPP share their numbers with EAGAIN and ENOTSUP: the first name given wins.
const names = new Map<number, string>([
  [constants.errno.EAGAIN, "EAGAIN"],
  [constants.errno.EOPNOTSUPP, "EOPNOTSUPP"],
]);
for (const [name, number] of Object.entries(constants.errno)) if (!names.has(number)) names.set(number, name);
