/** Where a run was made: figures of two machines are not to be compared. */
import { cpus, release, totalmem } from "node:os";

export interface Machine {
  readonly cores: number;
  readonly processor: string;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
}

export function thisMachine(): Machine {
  const all = cpus();
  return {
    cores: all.length,
    processor: all[0]?.model.trim() ?? "unknown",
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
  };
}

export function machineLine({ cores, processor, memoryBytes, kernel, node }: Machine): string {
  const memory = `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  return `${cores} ${cores === 1 ? "core" : "cores"} (${processor}), ${memory}, Linux ${kernel}, Node ${node}`;
}
