/** A network namespace with an address, in which a bench runs clients and servers. */
import type { ChildProcess } from "node:child_process";

export interface BenchPod {
  /** `namespace/name` */
  readonly key: string;
  /** IPv4. */
  readonly address: string;
  /** Runs a program within; stdin, stdout and stderr are pipes. Ends with the run at the latest. */
  run(command: readonly string[]): Promise<ChildProcess>;
  /** What the kernel says within: `/proc/net/…` of this namespace, and counters of conntrack (`nf_conntrack` of `/proc/net/stat`). */
  readProc(path: string): Promise<string>;
}
