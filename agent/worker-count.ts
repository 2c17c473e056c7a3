/** How many data-plane workers there are (agent-wire 10.2). */

export interface WorkerCountSettings {
  /** ZTUNNEL_WORKER_THREADS: `N`, `0` for every core, or `P%` of them. */
  readonly threads: string | undefined;
  /** `concurrency` of the mesh's ProxyConfig: 0 for every core. */
  readonly concurrency: number | undefined;
  /** Cores that the container may use, and that it is promised. */
  readonly cpuLimit: number | undefined;
  readonly cpuRequest: number | undefined;
  readonly cores: number;
}

/** @returns undefined where `threads` is none of its forms. */
export function workerCount(settings: WorkerCountSettings): number | undefined {
  const { threads, concurrency, cpuLimit, cpuRequest = 0, cores } = settings;
  if (threads !== undefined && threads !== "") {
    const [, number = "", percent] = /^(\d{1,4})(%?)$/.exec(threads) ?? [];
    if (number === "" || (percent === "%" && number === "0")) return undefined;
    if (percent === "%") return Math.ceil((cores * Number(number)) / 100);
    return Number(number) === 0 ? cores : Number(number);
  }
  if (concurrency !== undefined) return concurrency === 0 ? cores : concurrency;
  if (cpuLimit !== undefined) return Math.max(1, Math.ceil(cpuLimit), Math.ceil(cpuRequest));
  return Math.max(2, Math.ceil(cores / 4), Math.ceil(cpuRequest));
}
