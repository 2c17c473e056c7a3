/** Errors of sockets that nobody reads from or writes to: the kernel knows them, and an event loop that waits for nothing does not hear. */
import { errnoName } from "./errno.ts";
import { libc, SOL_SOCKET } from "./libc.ts";

/**
 * Asks for all of them at once (poll(2), without waiting).
 * @returns for each descriptor the errno's name, ECONNRESET or ETIMEDOUT for example, or undefined where it has no error.
 * The kernel tells an error once: whoever is told closes the socket.
 */
export function socketErrors(descriptors: readonly number[]): readonly (string | undefined)[] {
  // struct pollfd { int fd; short events; short revents; }: without events only errors and hang-ups are told.
  const polled = new Int32Array(descriptors.length * 2);
  descriptors.forEach((fd, i) => (polled[2 * i] = fd));
  if (libc.poll(polled, descriptors.length, 0) <= 0) return descriptors.map(() => undefined);
  const answers = new Int16Array(polled.buffer);
  return descriptors.map((fd, i) => (((answers[4 * i + 3] ?? 0) & POLLERR) === 0 ? undefined : errorOf(fd)));
}

function errorOf(fd: number): string | undefined {
  const error = new Int32Array(1);
  if (libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, error, Int32Array.of(4)) !== 0) return undefined;
  const [number = 0] = error;
  return number === 0 ? undefined : errnoName(number);
}

// asm-generic/poll.h, asm-generic/socket.h
const POLLERR = 8;
const SO_ERROR = 4;
