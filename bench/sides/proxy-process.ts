/** A foreign proxy in a pod: started there, waited for until it listens, and counted as the machine counts. */
import type { ChildProcess } from "node:child_process";
import { closeSync } from "node:fs";
import { LinuxError } from "../../core/linux/errno.ts";
import { openNamespace } from "../../core/linux/namespace.ts";
import { tcpSockets } from "../../core/linux/procfs.ts";
import { programsBelow } from "../host-processes.ts";
import type { StagePod } from "./stage.ts";

export class ProxyProcess {
  readonly #what: string;
  readonly #child: ChildProcess;
  #said = "";

  private constructor(what: string, child: ChildProcess) {
    this.#what = what;
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => (this.#said = (this.#said + text).slice(-mostSaid)));
    }
    child.stdin?.on("error", () => undefined);
    child.on("error", (error) => (this.#said += error.message));
  }

  /**
   * Resolves when something listens on all of these ports.
   * @param what for sentences: `haproxy at the server`.
   * @returns one sentence where it ended or did not listen in time: with the last that it said.
   */
  static async start(
    what: string,
    pod: StagePod,
    command: readonly string[],
    ports: readonly number[],
  ): Promise<ProxyProcess | string> {
    const proxy = new ProxyProcess(what, await pod.run(command));
    const deadline = performance.now() + startMs;
    while (performance.now() < deadline) {
      if (proxy.hasEnded) return `${what} ended: ${proxy.lastWords || "without a word"}`;
      const open = listening(pod);
      if (ports.every((port) => open.has(port))) return proxy;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    await proxy.stop();
    return `${what} did not listen on ${ports.join(", ")} within ${startMs / 1_000} s. ${proxy.lastWords}`.trim();
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined;
  }

  /** The end of its output, in one line. */
  get lastWords(): string {
    const lines = this.#said.trim().split("\n");
    return lines.slice(-3).join(" ").slice(-500);
  }

  /** As this process counts. @throws Error where it has ended: a measurement must not take a missing proxy for a cheap one. */
  pids(): number[] {
    const { pid } = this.#child;
    if (pid === undefined || this.hasEnded) throw new Error(`${this.#what} has ended: ${this.lastWords}`);
    return programsBelow(pid);
  }

  async stop(): Promise<void> {
    if (this.hasEnded) return;
    const closed = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await closed;
  }
}

/** TCP ports that are listened on in a pod. */
export function listening(pod: StagePod): ReadonlySet<number> {
  const fd = pod.netns === undefined ? undefined : openNamespace(pod.netns);
  if (fd === undefined || fd instanceof LinuxError) return new Set();
  try {
    return new Set(tcpSockets(fd).flatMap(({ state, local }) => (state === "listen" ? [local.port] : [])));
  } finally {
    closeSync(fd);
  }
}

const startMs = 15_000;
const mostSaid = 4_000;
