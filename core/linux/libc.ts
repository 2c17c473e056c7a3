/**
 * The C library through koffi: the one place where signatures stand. A wrong one ends the process, so the surface is small
 * and every function here is exercised by a test. Constants are Linux's, equal on x86-64 and arm64.
 */
import koffi from "koffi";

// The running program already has its C library in it: works with glibc and musl alike.
const library = koffi.load(null);

function declare<F>(name: string, result: string, parameters: string[]): F {
  return library.func(name, result, parameters) as unknown as F;
}

/** @returns undefined where this C library has no such function. */
function declareIfThere<F>(name: string, result: string, parameters: string[]): F | undefined {
  try {
    return declare<F>(name, result, parameters);
  } catch {
    return undefined;
  }
}

type Bytes = Uint8Array | Int32Array;

/** All return -1 on failure; read {@link errno} before anything else runs. */
export const libc = {
  socket: declare<(domain: number, type: number, protocol: number) => number>("socket", "int", ["int", "int", "int"]),
  bind: declare<(fd: number, address: Bytes, length: number) => number>("bind", "int", ["int", "void *", "uint"]),
  connect: declare<(fd: number, address: Bytes, length: number) => number>("connect", "int", ["int", "void *", "uint"]),
  listen: declare<(fd: number, backlog: number) => number>("listen", "int", ["int", "int"]),
  accept4: declare<(fd: number, address: null, length: null, flags: number) => number>("accept4", "int", [
    "int",
    "void *",
    "void *",
    "int",
  ]),
  setsockopt: declare<(fd: number, level: number, name: number, value: Bytes, length: number) => number>(
    "setsockopt",
    "int",
    ["int", "int", "int", "void *", "uint"],
  ),
  getsockopt: declare<(fd: number, level: number, name: number, value: Bytes, length: Bytes) => number>(
    "getsockopt",
    "int",
    ["int", "int", "int", "void *", "void *"],
  ),
  getsockname: declare<(fd: number, address: Bytes, length: Bytes) => number>("getsockname", "int", [
    "int",
    "void *",
    "void *",
  ]),
  getpeername: declare<(fd: number, address: Bytes, length: Bytes) => number>("getpeername", "int", [
    "int",
    "void *",
    "void *",
  ]),
  send: declare<(fd: number, bytes: Bytes, length: number, flags: number) => number>("send", "long", [
    "int",
    "void *",
    "size_t",
    "int",
  ]),
  recv: declare<(fd: number, bytes: Bytes, length: number, flags: number) => number>("recv", "long", [
    "int",
    "void *",
    "size_t",
    "int",
  ]),
  recvfrom: declare<
    (fd: number, bytes: Bytes, length: number, flags: number, address: Bytes, addressLength: Bytes) => number
  >("recvfrom", "long", ["int", "void *", "size_t", "int", "void *", "void *"]),
  sendmsg: declare<(fd: number, header: Bytes, flags: number) => number>("sendmsg", "long", ["int", "void *", "int"]),
  recvmsg: declare<(fd: number, header: Bytes, flags: number) => number>("recvmsg", "long", ["int", "void *", "int"]),
  poll: declare<(descriptors: Bytes, count: number, timeoutMs: number) => number>("poll", "int", [
    "void *",
    "ulong",
    "int",
  ]),
  close: declare<(fd: number) => number>("close", "int", ["int"]),
  shutdown: declare<(fd: number, how: number) => number>("shutdown", "int", ["int", "int"]),
  fcntl: declare<(fd: number, command: number, argument: number) => number>("fcntl", "int", ["int", "int", "int"]),
  ioctl: declare<(fd: number, request: number, argument: number) => number>("ioctl", "int", ["int", "ulong", "long"]),
  /** The same call with a pointer as argument. */
  ioctlStruct: declare<(fd: number, request: number, argument: Bytes) => number>("ioctl", "int", [
    "int",
    "ulong",
    "void *",
  ]),
  setns: declare<(fd: number, kind: number) => number>("setns", "int", ["int", "int"]),
  unshare: declare<(flags: number) => number>("unshare", "int", ["int"]),
  mount: declare<
    (source: string | null, target: string, type: string | null, flags: number, data: string | null) => number
  >("mount", "int", ["str", "str", "str", "ulong", "str"]),
  umount2: declare<(target: string, flags: number) => number>("umount2", "int", ["str", "int"]),
  prctl: declare<(option: number, a: number, b: number, c: number, d: number) => number>("prctl", "int", [
    "int",
    "ulong",
    "ulong",
    "ulong",
    "ulong",
  ]),
  /** For calls that have no function of their own: a thread, a struct, and two numbers. */
  syscall: declare<(number: number, thread: number, struct: Bytes, a: number, b: number) => number>("syscall", "long", [
    "long",
    "long",
    "void *",
    "ulong",
    "ulong",
  ]),
  setrlimit: declare<(resource: number, limits: Bytes) => number>("setrlimit", "int", ["int", "void *"]),
  /** The GNU C library's own; others give back by themselves. */
  malloc_trim: declareIfThere<(keep: number) => number>("malloc_trim", "int", ["size_t"]),
  waitpid: declare<(pid: number, status: Bytes | null, options: number) => number>("waitpid", "int", [
    "int",
    "void *",
    "int",
  ]),
  if_nametoindex: declare<(name: string) => number>("if_nametoindex", "uint", ["str"]),
  /** Ends the process at once; unlike process.abort it exists in worker threads too. */
  abort: declare<() => never>("abort", "void", []),
};

/** The calling thread's errno, as the last libc call left it. */
export function errno(): number {
  return koffi.errno();
}

/** Where a buffer's bytes are, for the pointers inside a struct. The caller keeps the buffer alive through the call. */
export function addressOf(bytes: Uint8Array): bigint {
  return koffi.address(bytes);
}

/** Waits for a descriptor on this thread's event loop. */
export interface Readiness {
  /** Ends the watch. The descriptor may be closed only afterwards. */
  close(): void;
  ref(): void;
  unref(): void;
}

/**
 * Calls `ready` on every loop turn in which the descriptor can be read (or is at its end), level-triggered.
 * It is called from the check phase, like setImmediate: microtasks run after it and what it throws is an uncaught exception
 * as anywhere else; straight out of libuv's callback neither would hold.
 */
export function whenReadable(fd: number, ready: () => void): Readiness {
  let closed = false;
  let pending = false;
  const deliver = (): void => {
    pending = false;
    if (!closed) ready();
  };
  const handle = koffi.node.poll(fd, { readable: true }, () => {
    if (pending || closed) return;
    pending = true;
    setImmediate(deliver);
  });
  return {
    close(): void {
      if (closed) return;
      closed = true;
      handle.close();
    },
    ref: () => void (closed || handle.ref()),
    unref: () => void (closed || handle.unref()),
  };
}

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;

export const SOCK_STREAM = 1;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

export const SOL_IP = 0;
export const SOL_SOCKET = 1;
export const SOL_TCP = 6;
export const SOL_IPV6 = 41;
export const SOL_PACKET = 263;
export const SOL_NETLINK = 270;

export const CLONE_NEWNET = 0x4000_0000;
