/**
 * Structured logs: one JSON object a line on standard output, or text for people (LOG_FORMAT=plain). JSON unless asked otherwise: a
 * line is for whoever collects and searches it first, and our own tools read it.
 */
import { pino, type Logger } from "pino";
import { LineSink } from "./line-sink.ts";
import {
  defaultLogFilter,
  extendLogFilter,
  formatLogFilter,
  levelOf,
  type LogFilter,
  type LogLevel,
} from "./log-filter.ts";
import { plainLine } from "./plain-line.ts";
import { printable } from "./printable.ts";

export type Log = Logger;

export type LogFormat = "json" | "plain";

export const logFormat: LogFormat = process.env["LOG_FORMAT"]?.toLowerCase() === "plain" ? "plain" : "json";

/** This thread's lines go here. They are written at once where that is possible: a process that is killed has said what it knew. */
export const logSink = new LineSink();

/**
 * @param scope what part of the program speaks, e.g. `zds` or `access`: by it levels are set, from RUST_LOG or LOG_LEVEL in the
 * beginning, and for all logs of the thread by {@link setLogFilter} later.
 * @param bindings added to every line.
 */
export function createLog(scope: string, bindings: Readonly<Record<string, unknown>> = {}): Log {
  const log = pino(
    {
      level: levelOf(current, scope),
      base: { scope, ...bindings },
      messageKey: "message",
      formatters: { level: (label) => ({ level: label }), log: boundFields },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    logFormat === "plain" ? { write: writePlain } : { write: (line: string) => logSink.write(line) },
  );
  logs.push({ scope, log });
  return log;
}

/** What is in force in this thread. */
export function logFilter(): LogFilter {
  return current;
}

/** For every log of this thread, whether it is there already or not. */
export function setLogFilter(filter: LogFilter): void {
  current = filter;
  for (const { scope, log } of logs) log.level = levelOf(filter, scope);
}

/** The level of a scope that writes its own lines. */
export function scopeLevel(scope: string): LogLevel {
  return levelOf(current, scope);
}

/** From RUST_LOG or else LOG_LEVEL. What is not understood is said, and the default counts. */
export function initialLogFilter(environment: Readonly<Record<string, string | undefined>>): LogFilter {
  const [variable, text] = environment["RUST_LOG"]
    ? ["RUST_LOG", environment["RUST_LOG"]]
    : ["LOG_LEVEL", environment["LOG_LEVEL"] ?? ""];
  const filter = extendLogFilter(defaultLogFilter, text);
  if (!("unknown" in filter)) return filter;
  process.stderr.write(
    `${variable}: ${printable(filter.unknown)} is no level and no scope=level; ${formatLogFilter(defaultLogFilter)} it is\n`,
  );
  return defaultLogFilter;
}

/** A log that says nothing: for tests. */
export const silentLog: Log = pino({ level: "silent" });

/** No field is longer than a line is worth. */
function boundFields(fields: Record<string, unknown>): Record<string, unknown> {
  const isUnfit = (value: unknown): boolean => typeof value === "string" && printable(value) !== value;
  return Object.values(fields).some(isUnfit) ? Object.fromEntries(Object.entries(fields).map(bounded)) : fields;
}

function bounded([name, value]: [string, unknown]): [string, unknown] {
  return [name, typeof value === "string" ? printable(value) : value];
}

function writePlain(line: string): void {
  const { time, level, scope, message, ...fields } = JSON.parse(line) as Record<string, string>;
  const head = { time: time ?? "", level: level ?? "", scope: scope ?? "", message: message ?? "" };
  logSink.write(`${plainLine(head, fields)}\n`);
}

const logs: { readonly scope: string; readonly log: Log }[] = [];
let current = initialLogFilter(process.env);
process.on("exit", () => logSink.flush());
