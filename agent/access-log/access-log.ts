/**
 * The access log: one JSON line per connection, in the shape of core/base/log.ts. Lines are gathered and written together, since a
 * write per connection costs more than the connection (125 µs were measured), and never later than 50 ms.
 */
import { writeSync } from "node:fs";
import type { Clock } from "../../core/base/clock.ts";
import { closeReason } from "../../core/decision/close-reasons.ts";
import { logFields, type CloseRecord } from "../connection/close-record.ts";

export interface AccessLogOptions {
  readonly clock: Clock;
  /** Added to every line. */
  readonly worker: number;
  readonly node: string;
  /** Takes whole lines; default: standard output. False: try again later. */
  readonly write?: (text: string) => boolean;
}

export class AccessLog {
  readonly #options: AccessLogOptions;
  readonly #write: (text: string) => boolean;
  #lines: string[] = [];
  #cancelFlush: (() => void) | undefined;
  /** Nobody read our output the last time: the next attempt is the timer's, not each line's. */
  #blocked = false;
  /** Lines that were given up because nobody read our output. */
  dropped = 0;

  constructor(options: AccessLogOptions) {
    this.#options = options;
    this.#write = options.write ?? writeStandardOutput;
  }

  add(record: CloseRecord): void {
    const { clock, worker, node } = this.#options;
    if (this.#lines.length >= mostLinesKept) {
      this.dropped += 1;
      return;
    }
    const line = {
      level: closeReason(record.reason).level,
      time: new Date(clock.wallMs()).toISOString(),
      scope: "access",
      message: "connection complete",
      ...logFields(record),
      worker,
      node,
    };
    this.#lines.push(JSON.stringify(line));
    if (this.#lines.length >= linesPerWrite && !this.#blocked) return this.flush();
    this.#cancelFlush ??= clock.after(flushWithinMs, () => this.flush());
  }

  /** Writes what has been gathered; also at exit. */
  flush(): void {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    if (this.#lines.length === 0) return;
    this.#blocked = !this.#write(`${this.#lines.join("\n")}\n`);
    if (this.#blocked) this.#cancelFlush = this.#options.clock.after(flushWithinMs, () => this.flush());
    else this.#lines = [];
  }
}

/** One write(2) for all, whatever thread asks: a worker's process.stdout would go by way of the main thread. */
function writeStandardOutput(text: string): boolean {
  let rest = Buffer.from(text);
  let began = false;
  for (;;) {
    try {
      const written = writeSync(1, rest);
      if (written === rest.length) return true;
      rest = rest.subarray(written);
      began = true;
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      // Nobody reads a full pipe: what has begun is finished, or the rest of a line would be lost.
      if (code === "EAGAIN") {
        if (began) continue;
        return false;
      }
      // The reader is gone: there is nobody to tell.
      return true;
    }
  }
}

const linesPerWrite = 64;
const flushWithinMs = 50;
/** While nobody reads; what comes after that is counted and dropped. */
const mostLinesKept = 10_000;
