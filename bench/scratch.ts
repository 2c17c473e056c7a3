/** Temporary folders that are gone when the run is, also when a signal ends it: whatever else a run starts ends with its process. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Scratch {
  readonly path: string;
  remove(): void;
}

/** @param prefix of its name in the machine's temporary folder. Others may look into it: not every proxy is root. */
export function scratchFolder(prefix: string): Scratch {
  const path = mkdtempSync(join(tmpdir(), prefix));
  chmodSync(path, 0o755);
  if (present.size === 0) for (const signal of signals) process.on(signal, endedBySignal);
  present.add(path);
  return {
    path,
    remove() {
      rmSync(path, { recursive: true, force: true });
      present.delete(path);
      if (present.size === 0) for (const signal of signals) process.off(signal, endedBySignal);
    },
  };
}

function endedBySignal(signal: (typeof signals)[number]): void {
  for (const path of present) rmSync(path, { recursive: true, force: true });
  process.exit(signal === "SIGINT" ? 130 : 143);
}

const signals = ["SIGINT", "SIGTERM"] as const;
const present = new Set<string>();
