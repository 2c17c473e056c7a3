/** What the host of a virtual machine does to its measurements. */
import { readFileSync } from "node:fs";

/** @returns each time: which share of this machine's processor time its host gave to others since the last time, 0 to 1. */
export function stolenShares(read: () => string = () => readFileSync("/proc/stat", "utf8")): () => number {
  let before = parseCpuTime(read());
  return () => {
    const now = parseCpuTime(read());
    const [all, stolen] = [now.all - before.all, now.stolen - before.stolen];
    before = now;
    return all > 0 ? stolen / all : 0;
  };
}

/** The first line of /proc/stat (proc_stat(5)), in ticks. Of guests' time user and nice time tell already. */
export function parseCpuTime(stat: string): { readonly all: number; readonly stolen: number } {
  const [line = ""] = stat.split("\n", 1);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, stolen = 0] = line
    .split(/ +/)
    .slice(1)
    .map(Number);
  return { all: user + nice + system + idle + iowait + irq + softirq + stolen, stolen };
}
