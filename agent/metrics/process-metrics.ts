/** What the kernel says of this process. */
import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import process from "node:process";
import type { Counters } from "./counters.ts";
import type { GaugeRow, MetricRows } from "./rows.ts";

export class ProcessWatch {
  readonly #startSeconds = Math.round(Date.now() / 1_000 - process.uptime());
  readonly #mostDescriptors = mostDescriptors();
  #cpuSeconds = 0;

  async look(counters: Counters): Promise<MetricRows["gauges"]> {
    const { user, system } = process.cpuUsage();
    const cpuSeconds = (user + system) / 1e6;
    counters.count("process_cpu_seconds", [], cpuSeconds - this.#cpuSeconds);
    this.#cpuSeconds = cpuSeconds;
    const gauges: GaugeRow[] = [
      { name: "process_resident_memory_bytes", labels: [], value: process.memoryUsage.rss() },
      { name: "process_start_time_seconds", labels: [], value: this.#startSeconds },
    ];
    try {
      // One is the folder's own.
      const open = (await readdir("/proc/self/fd")).length - 1;
      gauges.push({ name: "process_open_fds", labels: [], value: open });
    } catch {
      // None left to look with: that there is no figure is the figure.
    }
    if (this.#mostDescriptors !== undefined) {
      gauges.push({ name: "process_max_fds", labels: [], value: this.#mostDescriptors });
    }
    return gauges;
  }
}

function mostDescriptors(): number | undefined {
  const [, soft = ""] = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8")) ?? [];
  return /^\d+$/.test(soft) ? Number(soft) : undefined;
}
