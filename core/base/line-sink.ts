/**
 * Standard output for one thread, never waited for: a pipe that nobody reads takes what fits, the rest waits here within limits, and
 * what is too much is counted and dropped. Written by write(2) from whatever thread: a worker's process.stdout would go by way of the
 * main thread.
 */
import { constants, fstatSync, openSync, writeSync } from "node:fs";

export interface LineSinkOptions {
  /** Default: standard output. */
  readonly fd?: number;
  /** Bytes that may wait. Default 1 MiB. */
  readonly mostBytes?: number;
}

export class LineSink {
  /** Lines that were given up. */
  dropped = 0;
  readonly #fd: number;
  readonly #mostBytes: number;
  /** What the pipe took a part of: goes first. */
  #rest: Buffer | undefined;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor({ fd = 1, mostBytes = 1 << 20 }: LineSinkOptions = {}) {
    this.#fd = unblocking(fd);
    this.#mostBytes = mostBytes;
  }

  /** Takes whole lines over, now or later. */
  write(text: string): void {
    if (this.#waiting.length === 0 && this.offer(text)) return;
    if (this.#waitingBytes + text.length > this.#mostBytes) {
      this.dropped += linesOf(text);
      return;
    }
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    this.#later();
  }

  /** Takes whole lines if something of them can be written now. False: nothing of them is taken. */
  offer(text: string): boolean {
    if (!this.#finish()) return false;
    const bytes = Buffer.from(text);
    const written = this.#writeSome(bytes);
    if (written === "would-block") return false;
    if (written === "failed") this.dropped += linesOf(text);
    else if (written < bytes.length) {
      this.#rest = bytes.subarray(written);
      this.#later();
    }
    return true;
  }

  /** Writes what can be written; to be called at exit. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#finish()) {
      const next = this.#waiting[0];
      if (next === undefined || !this.offer(next)) break;
      this.#waiting.shift();
      this.#waitingBytes -= next.length;
    }
    if (this.#rest !== undefined || this.#waiting.length > 0) this.#later();
  }

  /** Whether nothing is left of a text that was begun. */
  #finish(): boolean {
    if (this.#rest === undefined) return true;
    const written = this.#writeSome(this.#rest);
    if (written === "would-block") return false;
    if (written === "failed") this.dropped += 1;
    this.#rest = written === "failed" || written === this.#rest.length ? undefined : this.#rest.subarray(written);
    return this.#rest === undefined;
  }

  #writeSome(bytes: Buffer): number | "would-block" | "failed" {
    try {
      return writeSync(this.#fd, bytes);
    } catch (thrown) {
      // A full disk, a reader that is gone: there is nobody to tell but whoever counts.
      return (thrown as NodeJS.ErrnoException).code === "EAGAIN" ? "would-block" : "failed";
    }
  }

  #later(): void {
    this.#timer ??= setTimeout(() => this.flush(), retryMs).unref();
  }
}

/** The same pipe opened once more, so that it never blocks us and its other users are not touched. What cannot be, stays as it is. */
function unblocking(fd: number): number {
  try {
    if (!fstatSync(fd).isFIFO()) return fd;
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return fd;
  }
}

function linesOf(text: string): number {
  return text.split("\n").length - 1;
}

const retryMs = 50;
