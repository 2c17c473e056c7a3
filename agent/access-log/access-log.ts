/**
 * The access log: one line per connection, JSON or text in the shape of core/base/log.ts. Lines are gathered and written together, since
 * a write per connection costs more than the connection (125 µs were measured), and never later than 50 ms.
 */
import { specimens } from "../../core/base/specimens.ts";
import type { Clock } from "../../core/base/clock.ts";
import { logFormat, logSink, scopeLevel, type LogFormat } from "../../core/base/log.ts";
import { isLoud, type LogLevel } from "../../core/base/log-filter.ts";
import { closeReason } from "../../core/decision/close-reasons.ts";
import {
  tellClosed,
  tellOpened,
  type CloseRecord,
  type ConnectionFacts,
  type FieldTaker,
} from "../connection/close-record.ts";
import { isEarly } from "../connection/early.ts";
import { JsonLine, PlainLine } from "./line.ts";

export interface AccessLogOptions {
  readonly clock: Clock;
  /** Added to every line. */
  readonly worker: number;
  readonly node: string;
  /** Default: what LOG_FORMAT says. */
  readonly format?: LogFormat;
  /** The least that is written. Default: that of scope `access`. */
  readonly level?: LogLevel;
  /** Takes whole lines; default: standard output. False: try again later. */
  readonly write?: (text: string) => boolean;
}

export class AccessLog {
  readonly #options: AccessLogOptions;
  readonly #write: (text: string) => boolean;
  readonly #format: LogFormat;
  #lines: string[] = [];
  #cancelFlush: (() => void) | undefined;
  /** Nobody read our output the last time: the next attempt is the timer's, not each line's. */
  #blocked = false;
  /** As it was last written, and of which millisecond that is. */
  #timeMs = Number.NaN;
  #timeText = "";
  /** The least that is written. */
  level: LogLevel;
  /** Lines that were given up because nobody read our output. */
  dropped = 0;

  constructor(options: AccessLogOptions) {
    const { format = logFormat, level = scopeLevel("access"), write = (text) => logSink.offer(text) } = options;
    this.#options = options;
    this.#format = format;
    this.#write = write;
    this.level = level;
  }

  /** A connection has ended. */
  add(record: CloseRecord): void {
    const early = isEarly(record);
    const said = closeReason(record.reason).level;
    const level = early && !isLoud(said, "warn") ? "warn" : said;
    if (!isLoud(level, this.level)) return;
    this.#say(level, early ? "connection failed" : "connection complete", tellClosed, record);
  }

  /** Bytes begin to flow. */
  opened(facts: ConnectionFacts): void {
    if (isLoud("debug", this.level)) this.#say("debug", "connection opened", tellOpened, facts);
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

  #say<T>(level: LogLevel, message: string, tell: (what: T, line: FieldTaker) => void, what: T): void {
    if (this.#lines.length >= mostLinesKept) {
      this.dropped += 1;
      return;
    }
    const { clock, worker, node } = this.#options;
    const head = { level, time: this.#time(), scope: "access", message };
    const line = this.#format === "plain" ? new PlainLine(head) : new JsonLine(head);
    specimens.logLine = line;
    tell(what, line);
    line.add("worker", worker);
    line.add("node", node);
    this.#lines.push(line.text());
    if (this.#lines.length >= linesPerWrite && !this.#blocked) return this.flush();
    this.#cancelFlush ??= clock.after(flushWithinMs, () => this.flush());
  }

  /** Many connections end in one millisecond. */
  #time(): string {
    const wallMs = this.#options.clock.wallMs();
    if (wallMs !== this.#timeMs) {
      this.#timeMs = wallMs;
      this.#timeText = new Date(wallMs).toISOString();
    }
    return this.#timeText;
  }
}

const linesPerWrite = 64;
const flushWithinMs = 50;
/** While nobody reads; what comes after that is counted and dropped. */
const mostLinesKept = 10_000;
