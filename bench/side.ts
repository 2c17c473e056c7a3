/** One of those that are compared: a way for a client's bytes to a server, and the processes that this way costs. */
import type { BenchPod } from "./pod.ts";

export type SideName = "direct" | "ours" | "haproxy" | "envoy" | "external";

/** Up and warm. All sides of a run are up at once and idle but for the one that is being measured. */
export interface RunningSide {
  readonly name: SideName;
  /** Where load comes from. */
  readonly client: BenchPod;
  /** Where it goes to; the servers of a scenario listen on every address of it. */
  readonly server: BenchPod;
  /** What a client connects to: the server's IPv4 address. */
  readonly address: string;
  /** Process ids, as this process counts: of the proxies at either end, none for `direct`. Asked anew for each measurement. */
  proxies(): Promise<ProxyProcesses>;
  stop(): Promise<void>;
}

export interface ProxyProcesses {
  readonly atClient: readonly number[];
  readonly atServer: readonly number[];
}

/** Why a side can't be had here, in one sentence for a person. */
export interface AbsentSide {
  readonly name: SideName;
  readonly absent: string;
}
