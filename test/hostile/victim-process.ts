/** A victim in a process of its own, so that its memory, CPU and descriptors are its own, and its death is noticed. */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import type { VictimCalls } from "./victim.ts";

type Options<Name extends keyof VictimCalls> = Parameters<VictimCalls[Name]>;
type Result<Name extends keyof VictimCalls> = Awaited<ReturnType<VictimCalls[Name]>>;

/** What an attack cost, from `mark` until it was asked for. */
export interface Cost {
  /** Highest resident set, less that at the mark. */
  readonly rssMb: number;
  readonly cpuMs: number;
}

export class Victim {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>();
  #calls = 0;
  #exit: string | undefined;
  #mark = { rssKb: 0, cpuMs: 0 };

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", ({ id, result, error }: { id: number; result: never; error?: string }) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(`the victim: ${error}`));
    });
    child.once("exit", (code, signal) => {
      this.#exit = signal ?? String(code);
      for (const { reject } of this.#waiting.values()) reject(new Error(`the victim has died: ${this.#exit}`));
    });
  }

  static async start(): Promise<Victim> {
    const child = fork(new URL("victim.ts", import.meta.url), {
      execArgv: ["--expose-gc"],
      serialization: "advanced",
      // Four times as fast from the second one on.
      env: { ...process.env, NODE_COMPILE_CACHE: fileURLToPath(compiled) },
    });
    await once(child, "message");
    return new Victim(child);
  }

  call<Name extends keyof VictimCalls>(name: Name, ...options: Options<Name>): Promise<Result<Name>> {
    if (this.#exit !== undefined) return Promise.reject(new Error(`the victim has died: ${this.#exit}`));
    const id = (this.#calls += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, name, options: options[0] ?? {} });
    });
  }

  /** False once it has crashed. */
  get isAlive(): boolean {
    return this.#exit === undefined;
  }

  /** Open descriptors, as the kernel lists them. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.#child.pid}/fd`).length;
  }

  /** From here on `cost` counts. Garbage goes first. */
  async mark(): Promise<void> {
    await this.call("memory");
    // Lowers the high-water mark of the resident set to what it is now (proc_pid_clear_refs(5)).
    writeFileSync(`/proc/${this.#child.pid}/clear_refs`, "5");
    this.#mark = { rssKb: this.#status("VmRSS"), cpuMs: this.#cpuMs() };
  }

  cost(): Cost {
    const { rssKb, cpuMs } = this.#mark;
    return { rssMb: Math.max(0, this.#status("VmHWM") - rssKb) / 1024, cpuMs: this.#cpuMs() - cpuMs };
  }

  async end(): Promise<void> {
    if (this.#exit !== undefined) return;
    this.#waiting.clear();
    const exited = once(this.#child, "exit");
    this.#child.disconnect();
    await exited;
  }

  #status(field: string): number {
    const line = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(
      readFileSync(`/proc/${this.#child.pid}/status`, "utf8"),
    );
    return Number(line?.[1]);
  }

  /** User and system time (proc_pid_stat(5), fields 14 and 15, in hundredths of a second). */
  #cpuMs(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }
}

const compiled = new URL("../../node_modules/.cache/victim/", import.meta.url);
