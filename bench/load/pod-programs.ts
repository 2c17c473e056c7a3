/** Programs in pods: run to their end, talked to line by line, or kept as servers. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { BenchPod } from "../pod.ts";
import { establishedTo, listensOn } from "./pod-sockets.ts";

/** @throws Error with what it said on standard error where it failed or took longer. @returns its standard output. */
export async function runIn(pod: BenchPod, command: readonly string[], withinMs: number): Promise<string> {
  const child = await pod.run(command);
  const output = collected(child);
  child.stdin?.end();
  const watchdog = setTimeout(() => child.kill("SIGKILL"), withinMs);
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  clearTimeout(watchdog);
  if (code === 0) return output.stdout;
  const how = signal === null ? `exit ${code}` : `ended by ${signal} after ${withinMs} ms at most`;
  const said = (output.stderr.trim() === "" ? output.stdout : output.stderr).trim().slice(-300);
  throw new Error(`${nameOf(command)} in ${pod.key}: ${how}: ${said}`);
}

/** A program that answers each line with one of JSON, and ends with its standard input. */
export class PodConversation<Answer> {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #output: { stderr: string };
  readonly #lines: AsyncIterator<string>;

  static async start<Answer>(pod: BenchPod, command: readonly string[]): Promise<PodConversation<Answer>> {
    return new PodConversation(await pod.run(command), `${nameOf(command)} in ${pod.key}`);
  }

  private constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
    if (child.stdout === null) throw new Error(`${name} has no output`);
    const lines = createInterface({ input: child.stdout });
    this.#lines = lines[Symbol.asyncIterator]();
    this.#output = collected(child);
    // One that ended says why by the answer that is missing.
    child.stdin?.on("error", () => undefined);
  }

  /** @throws Error where it ended instead of answering, or takes longer. */
  async ask(line: string, withinMs: number): Promise<Answer> {
    this.#child.stdin?.write(`${line}\n`);
    const watchdog = setTimeout(() => this.#child.kill("SIGKILL"), withinMs);
    const answer = await this.#lines.next();
    clearTimeout(watchdog);
    if (answer.done !== true) return JSON.parse(answer.value) as Answer;
    throw new Error(`${this.#name} did not answer: ${this.#output.stderr.trim().slice(-300)}`);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "close");
    this.#child.stdin?.end();
    const watchdog = setTimeout(() => this.#child.kill("SIGKILL"), 5_000);
    await ended;
    clearTimeout(watchdog);
  }
}

/** Servers by pod and port, each started when it is first needed. */
export class PodServers {
  readonly #running = new Map<string, ChildProcess>();

  /** Resolves when the program listens. @throws Error with what it said where it ended instead. */
  async ensure(pod: BenchPod, port: number, command: readonly string[]): Promise<void> {
    const key = `${pod.key} ${port}`;
    const child = this.#running.get(key);
    if (child !== undefined && child.exitCode === null && child.signalCode === null) return;
    const started = await pod.run(command);
    this.#running.set(key, started);
    const output = collected(started);
    for (const end = performance.now() + startMs; ; await pause()) {
      if (started.exitCode !== null || started.signalCode !== null)
        throw new Error(`${nameOf(command)} in ${pod.key} ended: ${output.stderr.trim().slice(-300)}`);
      if (await listensOn(pod, port)) return;
      if (performance.now() > end) throw new Error(`${nameOf(command)} in ${pod.key} does not listen on ${port}`);
    }
  }

  async close(): Promise<void> {
    const ends = [...this.#running.values()].map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    });
    this.#running.clear();
    await Promise.all(ends);
  }
}

/** Looks until no more than `most` connections lead from the pod to that address, or says how many there still are. */
export async function settledBelow(pod: BenchPod, address: string, most: number, withinMs: number): Promise<number> {
  for (const end = performance.now() + withinMs; ; await pause()) {
    const count = await establishedTo(pod, address);
    if (count <= most || performance.now() > end) return count;
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, pollMs));
}

function collected(child: ChildProcess): { stdout: string; stderr: string } {
  const output = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
  return output;
}

/** The program, without what only leads to it. */
function nameOf(command: readonly string[]): string {
  const words = command.filter((word) => word !== "env" && !word.startsWith("LD_LIBRARY_PATH="));
  const script = words.find((word) => word.endsWith(".ts")) ?? words[0] ?? "";
  return script.slice(script.lastIndexOf("/") + 1);
}

const startMs = 10_000;
const pollMs = 25;
