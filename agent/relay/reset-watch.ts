/**
 * Resets that Node does not hear of. A socket that isn't read from, because its relay is full or its peer has half-closed, is
 * polled for nothing: its peer may be long gone, and connection and descriptor would stay for as long as the other side is idle.
 */
import { socketErrors } from "../../core/linux/socket-errors.ts";
import { descriptorOf } from "../../core/linux/sockets.ts";
import type { TcpEnd } from "./tcp-end.ts";

/** One per worker. It knows those of its relays' ends that may be deaf, and costs nothing for all others, however many are open. */
export class ResetWatch {
  readonly #ends = new Set<TcpEnd>();

  /** It has stopped reading, or has read all there is. */
  add(end: TcpEnd): void {
    this.#ends.add(end);
  }

  /** How many are looked at. */
  get size(): number {
    return this.#ends.size;
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
      if (descriptor === undefined) {
        // It reads again, or is gone. Should it stop once more, it says so.
        this.#ends.delete(end);
        continue;
      }
      deaf.push(end);
      descriptors.push(descriptor);
    }
    if (deaf.length === 0) return;
    socketErrors(descriptors).forEach((errno, i) => {
      if (errno !== undefined) deaf[i]?.lose(errno);
    });
  }
}
