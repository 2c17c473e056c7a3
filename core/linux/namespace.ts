/**
 * Network namespaces as descriptors. A descriptor keeps its namespace alive and survives the reuse of a process id; a path
 * does neither. Namespaces belong to threads: everything here is synchronous and leaves the calling thread where it was.
 */
import { closeSync, constants, fstatSync, openSync, unlinkSync } from "node:fs";
import { CLONE_NEWNET, libc } from "./libc.ts";
import { fromNode, lastError, LinuxError } from "./errno.ts";
import { bindMount, unmount } from "./mounts.ts";

/** What two descriptors of one namespace have in common (they may come from different paths). */
export interface NamespaceIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/**
 * A descriptor of a fresh network namespace (loopback in it is down). Whoever holds it closes it.
 * @throws LinuxError where the process may not (no CAP_SYS_ADMIN): that is a question for start-up, not for each call.
 */
export function createNetworkNamespace(): number {
  const home = currentNamespace();
  if (libc.unshare(CLONE_NEWNET) !== 0) throw lastError("unshare", "CLONE_NEWNET");
  try {
    return openSync(ownPath, "r");
  } finally {
    comeBack(home);
  }
}

/** Opens `/run/netns/x` or `/proc/<pid>/ns/net`; anything that is no network namespace is refused. */
export function openNamespace(path: string): number | LinuxError {
  let fd: number;
  try {
    // O_NONBLOCK: a path that someone made a FIFO must not hang us.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return fromNode(error, "open", path);
  }
  if (isNetworkNamespace(fd)) return fd;
  closeSync(fd);
  return new LinuxError({ code: "linux.not-a-namespace", detail: path });
}

/** A descriptor of the namespace that the calling thread is in; whoever asked closes it. */
export function ownNamespace(): number {
  return openSync(ownPath, "r");
}

/** @throws where the descriptor is not open: our own bug. */
export function namespaceIdentity(fd: number): NamespaceIdentity {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return { dev, ino };
}

export function isNetworkNamespace(fd: number): boolean {
  // Ask nsfs only: on a foreign device the request number could mean anything.
  const onNsfs = namespaceIdentity(fd).dev === namespaceIdentity(currentNamespace()).dev;
  return onNsfs && libc.ioctl(fd, NS_GET_NSTYPE, 0) === CLONE_NEWNET;
}

/**
 * Runs `body` with the calling thread in the namespace, and comes back whatever happens. Sockets made inside stay there for
 * good; a child spawned inside starts there. Calls may nest. The body must not await: another task would run in the wrong
 * namespace; a promise as result is refused as our own bug, and so is a descriptor that is none.
 * If the way back fails the process aborts: a thread that stays in a pod's namespace must not do anything more.
 */
export function inNamespace<T>(netnsFd: number, body: () => T): T {
  const home = currentNamespace();
  if (libc.setns(netnsFd, CLONE_NEWNET) !== 0) throw lastError("setns", `descriptor ${netnsFd}`);
  current = netnsFd;
  let result: T;
  try {
    result = body();
  } finally {
    current = home;
    comeBack(home);
  }
  if (isPromise(result)) throw new TypeError("the body of inNamespace must be synchronous");
  return result;
}

/** As {@link inNamespace}, or simply here when no namespace is given. */
export function inNamespaceOf<T>(netnsFd: number | undefined, body: () => T): T {
  return netnsFd === undefined ? body() : inNamespace(netnsFd, body);
}

/** Gives a namespace a name in the file system, as `ip netns` does: bind-mounted on a file, which is made when missing. */
export function bindNamespace(fd: number, path: string): LinuxError | undefined {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_CREAT, 0o600));
  } catch (error) {
    return fromNode(error, "open", path);
  }
  return bindMount(`/proc/self/fd/${fd}`, path);
}

/** Takes the name away, file and all. One that is already gone is no error. */
export function unbindNamespace(path: string): LinuxError | undefined {
  const failure = unmount(path);
  if (failure !== undefined && failure.errno !== "EINVAL" && failure.errno !== "ENOENT") return failure;
  try {
    unlinkSync(path);
  } catch (error) {
    const gone = fromNode(error, "unlink", path);
    if (gone.errno !== "ENOENT") return gone;
  }
  return undefined;
}

/** The namespace this thread is in. Opened once for each thread: only this file moves a thread. */
function currentNamespace(): number {
  return (current ??= openSync(ownPath, "r"));
}

function comeBack(home: number): void {
  if (libc.setns(home, CLONE_NEWNET) !== 0) libc.abort();
}

function isPromise(value: unknown): boolean {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

// A worker has modules of its own, so this variable is one per thread.
let current: number | undefined;

// thread-self, not self: /proc/self is the main thread's.
const ownPath = "/proc/thread-self/ns/net";
const NS_GET_NSTYPE = 0xb703; // linux/nsfs.h
