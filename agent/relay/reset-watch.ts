/**
 * Resets that Node does not hear of. A socket that isn't read from, because its relay is full or its peer has half-closed, is
 * polled for nothing: its peer may be long gone, and connection and descriptor would stay for as long as the other side is idle.
 */
import { socketErrors } from "../../core/linux/socket-errors.ts";
import { descriptorOf } from "../../core/linux/sockets.ts";
import type { TcpEnd } from "./tcp-end.ts";

/** One per worker: the ends of all its relays that are sockets. */
export class ResetWatch {
  readonly #ends = new Set<TcpEnd>();

  add(end: TcpEnd): void {
    this.#ends.add(end);
  }

  remove(end: TcpEnd): void {
    this.#ends.delete(end);
  }

  /** Called about once a second: one system call for all of them. */
  tick(): void {
    const deaf: TcpEnd[] = [];
    const descriptors: number[] = [];
    for (const end of this.#ends) {
      const descriptor = end.isDeaf ? descriptorOf(end.socket) : undefined;
      if (descriptor === undefined) continue;
      deaf.push(end);
      descriptors.push(descriptor);
    }
    if (deaf.length === 0) return;
    socketErrors(descriptors).forEach((errno, i) => {
      if (errno !== undefined) deaf[i]?.lose(errno);
    });
  }
}
