/** Structured logs: one JSON object a line on standard output, or text for a terminal (LOG_FORMAT=plain). */
import { pino, type Logger } from "pino";

export type Log = Logger;

/**
 * @param scope what part of the program speaks, e.g. `zds` or `access`.
 * The level is LOG_LEVEL, default `info`. Lines are written synchronously: a process that is killed has said what it knew.
 */
export function createLog(scope: string, level: string = process.env["LOG_LEVEL"] ?? "info"): Log {
  return pino({
    level,
    base: { scope },
    messageKey: "message",
    formatters: { level: (label) => ({ level: label }) },
    timestamp: pino.stdTimeFunctions.isoTime,
  });
}

/** A log that says nothing: for tests. */
export const silentLog: Log = pino({ level: "silent" });
