/** The plugin's own log, `<run dir>/ambient-cni.log`: JSON lines, bounded, and never in the way of a pod. */
import { closeSync, constants, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Note } from "./run.ts";
import { logLevels, type PluginSettings } from "./settings.ts";

export const logFileName = "ambient-cni.log";

/** One earlier generation is kept, so that twice as much is the most there can be. */
export const longestLogBytes = 1024 * 1024;

/** Appends one line with one write, so that the lines of several plugins at once stay whole. Whatever goes wrong is let go. */
export function writeNote({ runDir, logLevel }: PluginSettings, note: Note, wallMs: number): void {
  if (logLevels.indexOf(note.level) < logLevels.indexOf(logLevel)) return;
  const path = join(runDir, logFileName);
  const { level, message, ...fields } = note;
  const time = new Date(wallMs).toISOString();
  const line = `${JSON.stringify({ level, time, scope: "cni-plugin", ...fields, message })}\n`;
  try {
    const fd = openSync(path, appendOnly, 0o600);
    try {
      writeSync(fd, line);
      if (fstatSync(fd).size > longestLogBytes) renameSync(path, `${path}.1`);
    } finally {
      closeSync(fd);
    }
  } catch {
    // No run directory yet, a full disk, a read-only one: the runtime has our answer, and that is what counts.
  }
}

const appendOnly =
  constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
