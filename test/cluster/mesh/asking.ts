/** Somebody who asks again and again, from a program in a pod's own network, and remembers every answer. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { createInterface } from "node:readline";
import type { Cluster } from "../cluster.ts";
import type { Asked } from "./workloads.ts";

export class Asking {
  readonly answers: Asked[] = [];
  readonly #child: ChildProcessWithoutNullStreams;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.answers.push(JSON.parse(line) as Asked));
  }

  /** Each time over a connection of its own, 10 ms after the answer before. */
  static async start(cluster: Cluster, namespace: string, pod: string, url: string): Promise<Asking> {
    const asks = [cluster.parts.app, "get", "-count", "0", "-every", "10ms", "-timeout", "2s", url];
    const argv = await cluster.inPodNetwork(namespace, pod, asks);
    return new Asking(spawn(argv[0]!, argv.slice(1), { env: cluster.env }));
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}
