/** Load as users cause it: new connections at a steady rate and held ones, from a program in a pod's own network. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { createInterface } from "node:readline";
import { until } from "../../support/until.ts";
import type { Cluster } from "../cluster.ts";

/** What test/cluster/app/load.go prints at its end. */
export interface LoadReport {
  readonly new: {
    readonly total: number;
    readonly failed: number;
    readonly errors: Readonly<Record<string, number>> | null;
    readonly healMs: number;
    readonly longestGapMs: number;
    readonly slowestMs: number;
    readonly notStarted: number;
    /** The most that were under way when one failed. */
    readonly underWay: number;
  };
  readonly held: {
    readonly opened: number;
    readonly cut: number;
    readonly errors: Readonly<Record<string, number>> | null;
  };
}

export interface LoadOptions {
  readonly namespace: string;
  readonly pod: string;
  /** Asked anew each time; undefined: nothing is. */
  readonly url?: string;
  /** New connections a second. */
  readonly rate?: number;
  /** Connections kept open all the time, to this HOST:PORT. */
  readonly held?: { readonly count: number; readonly address: string };
}

export class Load {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: string[] = [];
  #hundreds = 0;
  readonly #ended: Promise<void>;

  private constructor(child: ChildProcessWithoutNullStreams, started: () => void) {
    this.#child = child;
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line === "started") started();
      else if (line === "a hundred") this.#hundreds += 1;
      else this.#lines.push(line);
    });
    this.#ended = new Promise((resolve) => child.once("close", () => resolve()));
  }

  /** Settles when the first request was answered and every held connection stands. */
  static async start(cluster: Cluster, options: LoadOptions): Promise<Load> {
    const { namespace, pod, url = "", rate = 360, held } = options;
    const holding = held === undefined ? [] : ["-held", String(held.count), "-hold", held.address];
    const argv = await cluster.inPodNetwork(namespace, pod, [
      ...[cluster.parts.app, "load", "-rate", String(rate), "-url", url, ...holding],
    ]);
    const child = spawn(argv[0]!, argv.slice(1), { env: cluster.env });
    let complaint = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint += text));
    const started = Promise.withResolvers<void>();
    const load = new Load(child, started.resolve);
    child.once("close", () => started.reject(new Error(`the load did not start: ${complaint.trim()}`)));
    await started.promise;
    return load;
  }

  /** Settles when so many new connections have had their answer or failed. @param count in hundreds. */
  async hasAsked(count: number): Promise<void> {
    await until(`${count} connections`, 15_000, () => this.#hundreds * 100 >= count);
  }

  /** Ends it, and tells what became of every connection. */
  async stop(): Promise<LoadReport> {
    this.#child.stdin.end();
    await this.#ended;
    return JSON.parse(this.#lines.at(-1) ?? "") as LoadReport;
  }
}

/** One line for the log of a test: the numbers that later work brings to zero. */
export function sentence({ new: fresh, held }: LoadReport): string {
  const why = Object.entries({ ...fresh.errors, ...held.errors }).map(([error, times]) => `${times} × ${error}`);
  return (
    `${fresh.failed} of ${fresh.total} new connections lost, ${held.cut} of ${held.opened} held ones cut, ` +
    `healed after ${fresh.healMs} ms (longest gap ${fresh.longestGapMs} ms, slowest ${fresh.slowestMs} ms, at most ${fresh.underWay} under way)` +
    (why.length === 0 ? "" : `: ${why.join("; ")}`)
  );
}
